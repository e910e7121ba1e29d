"""The wording of the arithmetic problems, level by level: (text, expression).

Letters a to f stand for amounts; k, m, n and p for small numbers of groups. Every number of the expression is written
as a numeral in the text, so that a problem needs no knowledge beyond the four operations.
"""

Template = tuple[str, str]

NAMES = (
    *("Ada", "Ben", "Carla", "Dev", "Elif", "Farid", "Grace", "Hana", "Ivan", "Jonas", "Kofi", "Lena"),
    *("Maya", "Noor", "Omar", "Priya", "Rosa", "Sam", "Tess", "Uma", "Viktor", "Wen", "Yara", "Zoe"),
)
THINGS = (
    *("apples", "pencils", "marbles", "stickers", "books", "shells", "cards", "buttons", "stamps", "cookies"),
    *("balloons", "coins", "lemons", "beads", "flowers", "candles", "postcards", "tickets"),
)

_ASK = "Calculate {expression}."

CHAINS: dict[int, list[Template]] = {
    1: [(_ASK, "{a} + {b}"), (_ASK, "{k} * {m}")],
    2: [
        (_ASK, "{k} - {m}"),
        (_ASK, "{a} + {b}"),
        (_ASK, "{a} - {b}"),
        (_ASK, "{a} + {k}"),
        (_ASK, "{k} + {m} + {n}"),
    ],
    3: [
        (_ASK, "{a} + {b} - {c}"),
        (_ASK, "{k} * {m} + {a}"),
        (_ASK, "{a} - {k} * {m}"),
        (_ASK, "({a} + {b}) * {k}"),
        (_ASK, "({a} - {b}) / {k}"),
    ],
    4: [
        (_ASK, "({a} + {b}) * {k} - {c}"),
        (_ASK, "{k} * {m} + {n} * {p}"),
        (_ASK, "({a} - {b}) / {k} + {c}"),
        (_ASK, "{a} + {b} - {k} * {m}"),
        (_ASK, "({a} + {b} - {c}) * {k}"),
    ],
    5: [
        (_ASK, "({a} + {b}) * {k} - {c} * {m} + {d}"),
        (_ASK, "(({a} - {b}) * {k} + {c}) / {m}"),
        (_ASK, "({a} - {k} * {m}) * {n} + {b}"),
        (_ASK, "({a} + {b} + {c}) / {k} - {m} * {n}"),
        (_ASK, "{a} * {k} - ({b} + {c}) * {m} - {d}"),
    ],
}

STORIES: dict[int, list[Template]] = {
    1: [
        (
            "{name} has {a} red {things} and {b} blue {things}. How many {things} does {name} have in total?",
            "{a} + {b}",
        ),
        (
            "{name} reads {a} pages in the morning and {b} pages in the evening. How many pages does {name} read in "
            "total?",
            "{a} + {b}",
        ),
        ("{name} has {a} cats and {b} dogs. How many pets does {name} have?", "{a} + {b}"),
    ],
    2: [
        (
            "{name} has {k} {things}. {other} gives {name} {m} more. How many {things} does {name} have now?",
            "{k} + {m}",
        ),
        (
            "{name} has {k} {things} and {other} has {m} {things}. How many {things} do they have together?",
            "{k} + {m}",
        ),
        ("There are {k} {things} on the table. {name} takes {m} of them. How many {things} are left?", "{k} - {m}"),
        ("{name} buys {k} bags with {m} {things} in each. How many {things} is that?", "{k} * {m}"),
        ("A shop has {a} {things} and sells {b} of them. How many {things} are left?", "{a} - {b}"),
        ("{name} counts {a} {things} in one room and {b} in another. How many {things} is that in all?", "{a} + {b}"),
        (
            "{name} shares {a} {things} equally among {k} friends. How many {things} does each friend get?",
            "{a} / {k}",
        ),
        ("{name} has {a} {things}, {b} more than {other}. How many {things} does {other} have?", "{a} - {b}"),
    ],
    3: [
        (
            "{name} already has {a} {things}. Then {name} buys {k} boxes with {m} {things} in each. "
            "How many {things} does {name} have now?",
            "{a} + {k} * {m}",
        ),
        (
            "A bus leaves with {a} people. At the first stop {b} people get off and {c} get on. "
            "How many people are on the bus now?",
            "{a} - {b} + {c}",
        ),
        (
            "{name} pays for {k} tickets at {m} dollars each with {a} dollars. How many dollars does {name} get back?",
            "{a} - {k} * {m}",
        ),
        (
            "{name} has {a} {things} and {other} has {b}. They put them together and share them equally among "
            "{k} children. How many {things} does each child get?",
            "({a} + {b}) / {k}",
        ),
        (
            "{name} packs {k} rows of {m} {things} and {other} takes {n} of them away. How many {things} are left?",
            "{k} * {m} - {n}",
        ),
    ],
    4: [
        (
            "{name} buys {k} bags of {m} {things} and {n} bags of {p} {things}. {name} then gives {a} of them to "
            "{other}. How many {things} does {name} have left?",
            "{k} * {m} + {n} * {p} - {a}",
        ),
        (
            "{name} collects {a} {things} on Monday and {b} on Tuesday. They are shared equally among {k} people. "
            "{name} uses up {m} from one share. How many {things} are left in that share?",
            "({a} + {b}) / {k} - {m}",
        ),
        (
            "{name} earns {k} dollars an hour and works {m} hours a day for {n} days. Out of that, {name} spends "
            "{a} dollars. How many dollars are left?",
            "{k} * {m} * {n} - {a}",
        ),
        (
            "A library has {a} books. It lends {b} books and gets {c} back. Then it buys {k} boxes of {m} books. "
            "How many books are in the library now?",
            "{a} - {b} + {c} + {k} * {m}",
        ),
        (
            "{name} has {a} {things} and {other} has {b} fewer. Each of {other}'s {things} sells for {k} dollars, and "
            "{other} pays {m} dollars for the stall. How many dollars does {other} keep?",
            "({a} - {b}) * {k} - {m}",
        ),
    ],
    5: [
        (
            "An orchard has {k} rows of {m} trees. Each tree gives {n} apples. {a} of the apples are bad and are "
            "thrown away. The others are packed in bags of {p}, and all bags are full. How many bags are there?",
            "({k} * {m} * {n} - {a}) / {p}",
        ),
        (
            "{name} saves {k} dollars a week for {m} weeks. {other} saves {n} dollars a week for {p} weeks. "
            "Together they add {a} dollars from a prize. They buy a bicycle for {b} dollars. How many dollars do they "
            "have left?",
            "{k} * {m} + {n} * {p} + {a} - {b}",
        ),
        (
            "A school buys {k} boxes of pens at {m} dollars a box and {n} books at {p} dollars each. It pays with "
            "{a} dollars from one fund and {b} dollars from another. How many dollars are left over?",
            "{a} + {b} - {k} * {m} - {n} * {p}",
        ),
        (
            "A train starts with {a} people. At the first stop {b} get off and {c} get on. At the second stop {d} get "
            "off. The people still on the train sit equally in {k} carriages. How many people are in each carriage?",
            "({a} - {b} + {c} - {d}) / {k}",
        ),
        (
            "{name} makes {a} {things} and {other} makes {b}. They sell each of them for {k} dollars. The material "
            "cost {c} dollars and the stall {m} dollars a day for {n} days. How many dollars do they earn?",
            "({a} + {b}) * {k} - {c} - {m} * {n}",
        ),
    ],
}
