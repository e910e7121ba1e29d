"""Where pretrained weights come from, and how a GGUF becomes a plain safetensors folder."""
