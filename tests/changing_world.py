"""A data set whose events, items, attributes, vectors and recipe change at random, for tests of refreshes."""
import array
import csv
import os
import struct

from program import read_csv

AS_OF = 1631536000
DAY = 86400
RECIPES = {  # name, rows; some with random branches, some without
    "balanced": "positives", "nv-perc": "positives", "simans": "users", "ance": "positives", "exposure": "users",
    "random": "positives", "dns-rank": "users", "naive": "positives",
}


def read_npy(path):
    data = open(path, "rb").read()
    length = struct.unpack_from("<H", data, 8)[0]
    shape = eval(data[10:10 + length].decode(), {"__builtins__": {}})["shape"]
    numbers = array.array("f")
    numbers.frombytes(data[10 + length:])
    return numbers, list(shape)


def write_npy(path, numbers, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    header = header.ljust(117) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers.tobytes())


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


class World:
    """The files of one data set, and the flags that name them."""

    def __init__(self, folder, recipe):
        self.folder = folder
        self.recipe = recipe
        self.as_of = AS_OF
        self.deltas = []
        self.chosen = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def inputs(self):
        flags = ["--items", self.path("items.npy"), "--users", self.path("users.npy"), "--events",
                 self.path("events.csv"), "--catalogue", self.path("catalogue.csv"), "--as-of", str(self.as_of)]
        return flags

    def mine(self):
        flags = self.inputs() + ["--recipe", self.recipe, "--rows-from", RECIPES.get(self.recipe, "positives")]
        for delta in self.deltas:
            flags += ["--more-events", delta]
        return flags + self.flags()

    def flags(self):
        return [word for flag in self.chosen.items() for word in flag]

    def news(self):
        """What a refresh is told."""
        flags = self.inputs() + self.flags()
        for delta in self.deltas:
            flags += ["--more-events", delta]
        if "--set" in self.chosen:
            flags += ["--recipe", self.recipe]
        return flags


def add_events(world, chance, heldout):
    rows = []
    number = chance.choice([1, 5, 60])
    if chance.random() < 0.5:
        rows = chance.sample(heldout, min(number, len(heldout)))
    else:
        items = read_npy(world.path("items.npy"))[1][0]
        for _ in range(number):
            rows.append({"user": chance.randrange(150), "item": chance.randrange(items),
                         "time": world.as_of + chance.randrange(-5 * DAY, 3 * DAY),
                         "kind": chance.choice(["purchase", "view", "dislike", "hide", "like", "skip"]),
                         "value": chance.choice(["", "5", "60"])})
    if chance.random() < 0.7:
        path = world.path(f"delta{len(world.deltas)}.csv")
        write_csv(path, rows)
        world.deltas.append(path)
    else:  # the log itself grows
        write_csv(world.path("events.csv"), read_csv(world.path("events.csv")) + rows)
    if chance.random() < 0.6:
        world.as_of += chance.randrange(0, 4 * DAY)


def add_items(world, chance, _):
    numbers, shape = read_npy(world.path("items.npy"))
    catalogue = read_csv(world.path("catalogue.csv"))
    for _ in range(chance.choice([1, 4, 20])):
        like = chance.randrange(shape[0])
        numbers.extend(x * chance.choice([1.0, 0.9, 1.1]) for x in numbers[like * shape[1]:(like + 1) * shape[1]])
        row = dict(catalogue[like])
        row.update(item=shape[0], title="new", first_seen=world.as_of - chance.randrange(0, 30 * DAY), retired="")
        catalogue.append(row)
        shape[0] += 1
    write_npy(world.path("items.npy"), numbers, shape)
    write_csv(world.path("catalogue.csv"), catalogue)


def change_attributes(world, chance, _):
    catalogue = read_csv(world.path("catalogue.csv"))
    for _ in range(chance.choice([1, 3, 30])):
        row = chance.choice(catalogue)
        if chance.random() < 0.5:
            row["retired"] = world.as_of - chance.randrange(-DAY, 40 * DAY)
        else:
            key = chance.choice(["category", "seller", "group"])
            row[key] = chance.choice(catalogue)[key]
    write_csv(world.path("catalogue.csv"), catalogue)


def move_vectors(world, chance, _):
    name = chance.choice(["items.npy", "users.npy"])
    numbers, shape = read_npy(world.path(name))
    for _ in range(chance.choice([1, 3])):
        row = chance.randrange(shape[0])
        for d in range(shape[1]):
            numbers[row * shape[1] + d] += chance.uniform(-0.05, 0.05)
    write_npy(world.path(name + ".new"), numbers, shape)
    if chance.random() < 0.5:  # the old file stays, the new one lies beside it
        os.rename(world.path(name), world.path("old-" + name))
    os.rename(world.path(name + ".new"), world.path(name))


def change_recipe(world, chance, _):
    # Added to what an earlier step chose: a refresh goes on from that, too.
    if chance.random() < 0.6:
        world.chosen["--set"] = f"k={chance.choice([3, 4])}"
    else:
        world.chosen["--seed"] = "7"


CHANGES = [add_events, add_events, add_events, add_items, change_attributes, move_vectors, change_recipe]
