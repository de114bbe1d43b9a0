"""Random table files as people write them, and what is in them by Python's csv module, for the tests of tables into Parquet."""
import csv
import datetime
import struct

from arrow_tables import ODD_IDS

EPOCH = datetime.datetime(1970, 1, 1)
LAST = 253402300799999  # of 9999, in milliseconds
IDS = [*ODD_IDS, "\ufeffmark", '"', '""', 'in"side', ",", "\t", "\r", "\n", "x" * 3000, "\u2028", "|", "0", "-0", "true", "2024-05-01", "nan", "=1+1"]
KINDS = ["like", "view", "Purchase", "två", 'ki"nd', "a,b\tc", " "]
NUMBERS = ["0", "-0", "1e5", ".5", "5.", "0.1", "-3.4028234663852886e38", "3.4028234663852886e+38", "1e-45", "5e-324", "2.2250738585072011e-308", "16777217",
           "9007199254740993", "0.1000000000000000055511151231257827021181583404541015625", "1E2", "00012.50", " 7 ", "\t8", "1e-320"]


def bare(name):
    """As RecBole's headers are read."""
    return name[:name.rindex(":")] if ":" in name else name


def separator_of(path):
    return "," if path.endswith(".csv") else "\t"


def field(random, text, separator):
    if text.startswith('"') or any(one in text for one in "\r\n" + separator) or random.random() < 0.15:
        return '"' + text.replace('"', '""') + '"'
    return text


def write_table(random, path, columns, plain=False):
    """Columns {name: texts} with a mark or none, any ends of lines, quotes where they must be and where they need not, blank lines."""
    separator = separator_of(path)
    names = list(columns)
    end = "\n" if plain else random.choice(["\n", "\r\n"])
    lines = [separator.join(field(random, name if plain or random.random() < 0.7 else name + ":token", separator) for name in names)]
    for record in zip(*columns.values()):
        lines.append(separator.join(field(random, text, separator) for text in record))
        if not plain and random.random() < 0.03:
            lines.append("")
    text = "".join(line + (end if random.random() < 0.95 else "\n") for line in lines)
    if len(lines) > 1 and random.random() < 0.3:
        text = text[:-1].removesuffix("\r")
    with open(path, "w", newline="", encoding="utf-8-sig" if not plain and random.random() < 0.5 else "utf-8") as file:
        file.write(text)
    return path


def read_table(path):
    """{name: texts}, by another reader than the one that is tested."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        records = [record for record in csv.reader(file, delimiter=separator_of(path), strict=True) if record]
    return {bare(name): [record[place] for record in records[1:]] for place, name in enumerate(records[0])}


def moment(random):
    """A time and its writing: (text, milliseconds since 1970)."""
    millis = random.choice([0, 999, 1000, LAST, LAST - 999, random.randrange(LAST), random.randrange(1_500_000_000_000, 1_700_000_000_000)])
    seconds = millis // 1000
    way = random.randrange(6)
    if way == 0:
        calendar = len(str(seconds)) == 8  # which the program takes for a date written together
        return f"{seconds}.0" if calendar else random.choice([str(seconds), f" {seconds} "]), seconds * 1000
    if way == 1:
        return f"{seconds}.{millis % 1000:03}{random.choice(['', '9', '999999'])}", millis
    when = EPOCH + datetime.timedelta(milliseconds=millis)
    if way == 2:
        return f"{when:%Y-%m-%d}", millis - millis % 86_400_000
    offset = 0 if millis > LAST - 86_400_000 or millis < 86_400_000 else random.choice([0, 120, -330, 14 * 60, -11 * 60])
    zone = random.choice(["", "Z", "z"]) if offset == 0 else f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}" + (
        random.choice([":", ""]) + f"{abs(offset) % 60:02}" if offset % 60 or random.random() < 0.5 else "")
    local = when + datetime.timedelta(minutes=offset)
    day, between = f"{local:%Y-%m-%d}", random.choice("Tt ")
    if way == 3:
        return f"{day}{between}{local:%H:%M}{zone}", millis - millis % 60_000
    if way == 4:
        return f"{day}{between}{local:%H:%M:%S}{zone}", seconds * 1000
    digits = random.choice([1, 2, 3, 6])
    kept = millis - millis % 10 ** max(0, 3 - digits)
    return f"{day}{between}{local:%H:%M:%S}{random.choice('.,')}{f'{millis % 1000:03}000'[:digits]}{zone}", kept


def number(random):
    if random.random() < 0.3:
        return random.choice(NUMBERS)
    while True:
        value = struct.unpack("<d", random.randbytes(8))[0]
        if abs(value) < 3.4e38:
            return repr(value)
        if random.random() < 0.5:
            return repr(random.gauss(0, 10))


class Writings:
    """Random columns, and what their times and keys say: by their texts, so that whoever reads the file can look them up."""

    def __init__(self, random):
        self.random, self.said = random, {}

    def times(self, count, empty=0.0):
        texts = []
        for _ in range(count):
            text, millis = moment(self.random)
            self.said[text] = millis
            texts.append("" if self.random.random() < empty else text)
        return texts

    def texts(self, count, pool, empty=0.0):
        return ["" if self.random.random() < empty else self.random.choice(pool) for _ in range(count)]

    def numbers(self, count, empty=0.0):
        return [self.random.choice(["", "  "]) if self.random.random() < empty else number(self.random) for _ in range(count)]

    def lists(self, count):
        alone = [one for one in IDS if "|" not in one]
        return ["|".join(self.random.sample(alone, self.random.randrange(5))) for _ in range(count)]

    def keys(self, count):
        keys = [2**64 - 1, 0, *(self.random.getrandbits(64) for _ in range(count))][:count]
        return [f"{key:021}" if self.random.random() < 0.1 else str(key) for key in keys]


def shuffled(random, columns):
    names = list(columns)
    random.shuffle(names)
    return {name: columns[name] for name in names}


def world(kind, random, count):
    """(columns as texts, what the times among them say)."""
    make = Writings(random)
    events = {"user": make.texts(count, IDS), "item": make.texts(count, IDS)}
    if kind == "events":
        columns = {**events, "time": make.times(count), "more": make.texts(count, IDS, 0.2)}
        if random.random() < 0.8:
            columns["kind"] = make.texts(count, KINDS)
        if random.random() < 0.8:
            columns["value"] = make.numbers(count, 0.3)
    elif kind == "pairs":
        columns = {**events, "score": make.numbers(count), "time": make.texts(count, ["no time"])}
    elif kind == "rows":
        columns = {"user": events["user"]}
        optional = {"item": make.lists(count), "time": make.times(count, 0.3), "segment": make.texts(count, IDS, 0.3), "row_key": make.keys(count)}
        columns.update({name: texts for name, texts in optional.items() if random.random() < 0.8})
    else:
        columns = {"item": events["item"], "label": make.texts(count, IDS, 0.4), "price": make.numbers(count), "title": make.texts(count, IDS, 0.2)}
        columns.update({name: make.times(count, 0.5) for name in ("first_seen", "retired") if random.random() < 0.7})
    return shuffled(random, columns), make.said
