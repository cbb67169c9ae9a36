"""The features that candidates are weighed by, and the source that each speaks for."""

SOURCE_OF = {
    "together": "together",  # what people touched after what this person touched just now
    "recent": "together",  # the same, of the last days only
    "last": "together",  # after the newest touch alone
    "ease": "together",  # learned: what speaks for what, indirect ways taken out
    "sequence": "sequence",  # the user tower
    "category": "category",  # categories of the newest touches
    "era": "category",  # published when the newest touches were
    "fame": "interest",  # as well known, or as little, as the newest touches
    "content": "interest",  # likeness to the newest touches
    "interest": "interest",  # likeness to the long-term interest
    "entry": "popular",  # what people begin with, by how many they touched so far
    "popular_hour": "popular",
    "popular_day": "popular",
    "popular_weeks": "popular",
    "popular_long": "popular",  # against the one before: whether the item is new
    "fresh": "fresh",  # how new the item is, by days
    "age": "fresh",  # the same by doublings: what is new where months are nothing
    "known": "",  # whether the item has a vector
    "touches": "",  # how many items the person touched
    "burst": "",  # how many of them within the newest second
}
FEATURES = tuple(SOURCE_OF)
PAIRED = FEATURES[: FEATURES.index("popular_hour")]
"""Known for every pair of a person and an item: U x N each."""
ITEMWISE = FEATURES[len(PAIRED) : FEATURES.index("touches")]
"""Of items alone: N each."""
PERSONAL = FEATURES[FEATURES.index("touches") :]
"""Of people alone: U each."""
