"""Tables like those of tools/prepare_movielens, small and made up: users see films of their own kind more often, and like them more."""
import os
import random

from program import write_csv


def write_tables(folder, users=160, items=160, ratings=40, seed=3):
    """events.csv, heldout.csv, catalogue.csv, users.csv. Ids are no row numbers, so that a mix-up is seen."""
    chance = random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    item_ids = [5000 + 3 * item for item in range(items)]
    user_ids = [900 + 2 * user for user in range(users)]
    events, held_out = [], []
    for user in range(users):
        kinds = [[item for item in range(items) if (item % 4 == user % 4) == own] for own in (True, False)]
        films = chance.sample(kinds[0], 3 * ratings // 5) + chance.sample(kinds[1], ratings - 3 * ratings // 5)
        chance.shuffle(films)
        for place, item in enumerate(films):
            liked = chance.random() < (0.85 if item % 4 == user % 4 else 0.35)
            rating = chance.choice((4, 5)) if liked else chance.choice((1, 2, 3))
            row = [user_ids[user], item_ids[item], 1_200_000_000 + 86_400 * user + 60 * place, "rating", rating]
            if place < 0.7 * ratings:
                events.append(row)
            else:
                held_out.append(row + ["valid" if place < 0.8 * ratings else "test"])
    header = ["user", "item", "time", "kind", "value"]
    write_csv(os.path.join(folder, "events.csv"), header, events)
    write_csv(os.path.join(folder, "heldout.csv"), header + ["split"], held_out)
    write_csv(os.path.join(folder, "catalogue.csv"), ["item", "title", "first_seen"], [[item, f"Film {item}", ""] for item in item_ids])
    write_csv(os.path.join(folder, "users.csv"), ["user", "age"], [[user, 30] for user in user_ids])
    return folder
