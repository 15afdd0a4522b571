"""The words that the bundled English training data is made of.

Everything here is everyday vocabulary: people, animals, food, clothes, rooms, colours, weather. The
out-of-distribution test items use other words (engineering, law, ships, medicine, ...), so a word from
those fields must not be added here; ``verify_english.py`` measures how far the two overlap.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """A subject: how it is named, its possessive ("" where the noun has no gender), and whether a child."""

    text: str
    poss: str = ""
    child: bool = False


@dataclass(frozen=True)
class Activity:
    """Something people do to one of several objects which share a general word."""

    ing: str
    past: str
    base: str
    objects: tuple[str, ...]
    general: str
    any_general: str
    places: tuple[str, ...]
    children_too: bool = True


# fmt: off
FEMALE_NAMES = ("Anna", "Maria", "Sara", "Lina", "Eva", "Nina")
MALE_NAMES = ("Peter", "Omar", "Daniel", "Ali", "Tom", "Adam")
NAMES = tuple(Person(n, "her") for n in FEMALE_NAMES) + tuple(Person(n, "his") for n in MALE_NAMES)
CHILDREN = (
    Person("the girl", "her", True),
    Person("the boy", "his", True),
    Person("the little girl", "her", True),
    Person("the little boy", "his", True),
)
ADULTS = (
    Person("the woman", "her"),
    Person("the man", "his"),
    Person("the old woman", "her"),
    Person("the old man", "his"),
    Person("the young woman", "her"),
    Person("the young man", "his"),
    Person("the mother", "her"),
    Person("the father", "his"),
    Person("the grandmother", "her"),
    Person("the grandfather", "his"),
    Person("the teacher"),
    Person("the farmer"),
    Person("the cook"),
    Person("the neighbour"),
)
PEOPLE = NAMES * 2 + CHILDREN * 2 + ADULTS
RELATIVES = ("sister", "brother", "mother", "father", "friend", "grandmother", "grandfather")
ELDER_RELATIVES = ("sister", "brother", "friend", "children", "daughter", "son")

# (singular noun of a person, plural, is a child)
COUNTED_PEOPLE = (
    ("boy", "boys", True),
    ("girl", "girls", True),
    ("man", "men", False),
    ("woman", "women", False),
    ("teacher", "teachers", False),
    ("farmer", "farmers", False),
)
NUMBERS = ("two", "three", "four", "five", "six")

ANIMALS = ("dog", "cat", "horse", "cow", "goat", "chicken", "duck", "sheep", "rabbit", "donkey")
PLURAL_ANIMALS = {
    "dog": "dogs", "cat": "cats", "horse": "horses", "cow": "cows", "goat": "goats", "chicken": "chickens",
    "duck": "ducks", "sheep": "sheep", "rabbit": "rabbits", "donkey": "donkeys",
}
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")

KITCHEN_FOOD = ("rice", "fish", "meat", "soup", "eggs", "potatoes", "beans")
SHOP_FOOD = ("bread", "rice", "meat", "fish", "cheese", "apples", "eggs", "oranges", "potatoes", "bananas",
            "salt")
ACTIVITIES = (
    Activity("buying", "bought", "buy", SHOP_FOOD, "some food", "any food",
             ("at the market", "in the shop", "in the village")),
    Activity("buying", "bought", "buy", ("a shirt", "a coat", "a scarf", "a hat", "trousers", "gloves"),
             "some clothes", "any clothes", ("at the market", "in the shop")),
    Activity("eating", "ate", "eat",
             ("bread", "rice", "soup", "fish", "cake", "meat", "an apple", "an orange", "a banana", "cheese"),
             "some food", "any food", ("in the kitchen", "in the garden", "at home", "at school",
            "at the station")),
    Activity("cooking", "cooked", "cook", KITCHEN_FOOD, "some food", "any food",
             ("in the kitchen", "at home", "in the garden"), False),
    Activity("washing", "washed", "wash", ("a horse", "a dog", "a cow", "a donkey"), "an animal",
            "any animals",
             ("in the garden", "in front of the house", "behind the house")),
    Activity("feeding", "fed", "feed", ("a horse", "a dog", "a cow", "a cat", "a goat", "a duck", "a rabbit"),
             "an animal", "any animals", ("in the garden", "behind the house", "in the village")),
    Activity("drawing", "drew", "draw", ("a dog", "a horse", "a cat", "a cow", "a duck", "a goat"),
             "an animal", "any animals", ("at school", "in the kitchen", "at home")),
    Activity("washing", "washed", "wash", ("a shirt", "a dress", "a coat", "trousers", "socks"),
             "some clothes", "any clothes", ("at home", "behind the house", "in the garden")),
    Activity("carrying", "carried", "carry", ("a chair", "a table", "a bed"), "some furniture",
            "any furniture",
             ("in the street", "in the garden", "in front of the house"), False),
    Activity("drinking", "drank", "drink", ("milk", "tea", "coffee", "water", "juice"), "something",
            "anything",
             ("in the kitchen", "in the garden", "at home", "at the station"), False),
    Activity("drinking", "drank", "drink", ("milk", "water", "juice"), "something", "anything",
             ("in the kitchen", "in the garden", "at home", "at school")),
    Activity("reading", "read", "read", ("a book", "a letter", "a story", "a newspaper"), "something",
            "anything",
             ("in the kitchen", "in the garden", "at home", "at the station", "in the park")),
)

# What several people can do together, with the places where they do it.
JOINT_ACTIVITIES = (
    ("eating soup", ("in the kitchen", "at home", "in the garden")),
    ("drinking tea", ("in the kitchen", "at home", "in the garden", "at the station")),
    ("playing football", ("in the park", "in the street", "in the garden")),
    ("playing with a ball", ("in the park", "in the garden", "in the street")),
    ("reading a book", ("in the bedroom", "in the park", "in the garden", "in the kitchen")),
    ("singing a song", ("in the park", "in the kitchen", "in the street", "at the station")),
    ("dancing", ("in the park", "in the street", "in the kitchen", "in the garden")),
    ("working", ("in the garden", "in the shop", "in the kitchen", "at the market")),
    ("waiting", ("at the station", "in the street", "in the park", "in the shop")),
    ("talking", ("in the street", "in the kitchen", "at the market", "at the station", "in the park")),
    ("cooking rice", ("in the kitchen", "in the garden", "at home")),
    ("buying bread", ("at the market", "in the shop")),
    ("eating cake", ("in the kitchen", "at the station", "in the park", "in the garden")),
)
COMPANY_ACTIVITIES = (
    "walking to school", "walking to the market", "playing football in the park", "eating lunch at home",
    "cooking dinner", "working in the garden", "waiting at the station", "singing in the kitchen",
    "reading in the bedroom", "drinking tea in the garden", "running to the shop",
    "buying fish at the market",
    "dancing in the street", "playing with a new ball", "sitting in the park",
)

# Places no two of which one can be in at the same time.
APART = (
    "in the kitchen", "in the bedroom", "in the garden", "in the park", "at the market", "at school",
    "at the station", "in the street",
)
SPOTS = (
    "under the table", "on the table", "on the bed", "under the bed", "on the chair", "under the chair",
    "in the car",
)
SMALL_ANIMALS = ("cat", "rabbit", "little dog", "black cat", "white rabbit")
SMALL_THINGS = (
    "book", "ball", "doll", "hat", "key", "letter", "red cup", "blue bag", "shirt", "basket", "umbrella",
)

# Whole-body states which exclude each other, each with places.
POSTURES = (
    ("sleeping", ("at home", "in the bedroom", "under a tree", "on the bed", "in the garden")),
    ("sitting", ("at home", "on a chair", "next to the window", "in the park", "in the kitchen",
            "in the garden")),
    ("standing", ("next to the door", "at the station", "in the street", "in front of the house",
            "in the garden")),
    ("running", ("in the park", "to school", "in the street", "to the shop", "in the garden")),
    ("walking", ("to school", "to the market", "in the park", "in the street", "to the station")),
    ("dancing", ("in the street", "in the kitchen", "in the park")),
    ("swimming", ("in the cold water", "near the village", "in the deep water")),
)
STAY_PLACES = ("at home", "in the village", "with a friend")

# Adjective pairs: (one, the other, whether "not one" means "the other").
OPEN = ("open", "closed", True)
CLEAN = ("clean", "dirty", True)
WET = ("wet", "dry", True)
AWAKE = ("awake", "asleep", True)
FULL = ("full", "empty", False)
BIG = ("big", "small", False)
OLD = ("old", "new", False)
YOUNG = ("young", "old", False)
HEAVY = ("heavy", "light", False)
HOT = ("hot", "cold", False)
WARM = ("warm", "cold", False)
LONG = ("long", "short", False)
FAST = ("fast", "slow", False)
DARK = ("dark", "bright", False)
HARD = ("hard", "soft", False)
QUIET = ("quiet", "loud", False)
STRONG = ("strong", "weak", False)
EASY = ("easy", "difficult", False)
GOOD = ("good", "bad", False)
BEAUTIFUL = ("beautiful", "ugly", False)

THINGS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "door": (OPEN, CLEAN, OLD, BIG, HEAVY),
    "window": (OPEN, CLEAN, OLD, BIG),
    "box": (OPEN, HEAVY, BIG, OLD, WET),
    "bag": (HEAVY, BIG, OLD, WET, CLEAN),
    "basket": (FULL, BIG, OLD),
    "shirt": (CLEAN, WET, OLD, BIG, BEAUTIFUL),
    "coat": (CLEAN, WET, OLD, LONG, HEAVY),
    "dress": (CLEAN, WET, OLD, LONG, BEAUTIFUL),
    "hat": (WET, OLD, BIG, CLEAN, BEAUTIFUL),
    "soup": (HOT, GOOD),
    "tea": (HOT, GOOD, STRONG),
    "coffee": (HOT, GOOD, STRONG),
    "car": (OLD, BIG, CLEAN, FAST),
    "bicycle": (OLD, BIG, CLEAN, FAST),
    "kitchen": (CLEAN, WARM, BIG, DARK, OLD),
    "bedroom": (CLEAN, WARM, BIG, DARK),
    "house": (BIG, OLD, WARM, CLEAN, BEAUTIFUL),
    "garden": (BIG, BEAUTIFUL, WET),
    "chair": (OLD, HARD, CLEAN, HEAVY),
    "bed": (HARD, BIG, OLD, WARM),
    "book": (LONG, OLD, EASY, GOOD, HEAVY),
    "letter": (LONG, OLD, GOOD),
    "homework": (LONG, EASY, GOOD),
    "dog": (YOUNG, BIG, WET, STRONG, FAST, AWAKE),
    "horse": (YOUNG, BIG, WET, STRONG, FAST),
    "cat": (YOUNG, BIG, WET, AWAKE, CLEAN),
    "hair": (LONG, WET, CLEAN),
}
COLOURED = ("shirt", "coat", "dress", "hat", "car", "bicycle", "bag", "basket", "ball", "umbrella", "house")
PUBLIC_THINGS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "the street": (WET, CLEAN, LONG, QUIET),
    "the school": (OPEN, BIG, OLD, CLEAN),
    "the shop": (OPEN, BIG, OLD, CLEAN, QUIET),
    "the classroom": (CLEAN, WARM, BIG, DARK, QUIET),
    "the station": (OPEN, BIG, OLD, CLEAN, QUIET),
    "the door of the kitchen": (OPEN, CLEAN, OLD, BIG),
    "the window of the bedroom": (OPEN, CLEAN, OLD, BIG),
    "the door of the school": (OPEN, CLEAN, OLD, BIG),
    "the window of the shop": (OPEN, CLEAN, OLD, BIG),
    "the baby": (AWAKE, CLEAN),
    "the park": (BIG, BEAUTIFUL, CLEAN, QUIET),
    "the water": (HOT, CLEAN),
    "the milk": (HOT, GOOD),
    "the bread": (HARD, GOOD),
    "the road": (WET, LONG, CLEAN),
}

# Scenes with an object that an adjective can describe: (verb in -ing, base, noun, adjective pairs, places).
OBJECT_SCENES: tuple[tuple[str, str, str, tuple[tuple[str, str], ...], tuple[str, ...]], ...] = (
    ("washing", "wash", "horse", (("white", "black"), ("big", "small"), ("young", "old"), ("brown", "grey")),
     ("in the garden", "behind the house")),
    ("feeding", "feed", "dog", (("white", "black"), ("big", "small"), ("young", "old"), ("brown", "grey")),
     ("in the garden", "in the street", "behind the house")),
    ("carrying", "carry", "box", (("heavy", "light"), ("red", "green"), ("big", "small"), ("old", "new")),
     ("in the street", "to the station", "to the car")),
    ("carrying", "carry", "bag", (("heavy", "light"), ("blue", "yellow"), ("big", "small"), ("full",
            "empty")),
     ("in the street", "to the station", "to school")),
    ("reading", "read", "book", (("long", "short"), ("old", "new"), ("easy", "difficult")),
     ("at home", "in the park", "at the station", "in the bedroom")),
    ("reading", "read", "letter", (("long", "short"), ("old", "new")), ("at home", "in the kitchen",
            "in the garden")),
    ("buying", "buy", "shirt", (("blue", "white"), ("red", "green"), ("warm", "light"), ("big", "small")),
     ("at the market", "in the shop")),
    ("buying", "buy", "coat", (("long", "short"), ("black", "brown"), ("warm", "light")),
     ("at the market", "in the shop")),
    ("wearing", "wear", "hat", (("black", "red"), ("old", "new"), ("big", "small"), ("green", "blue")),
     ("in the street", "at the market", "in the garden")),
    ("wearing", "wear", "coat", (("long", "short"), ("black", "white"), ("old", "new"), ("yellow", "blue")),
     ("in the street", "at the station", "in the park")),
    ("drawing", "draw", "house", (("big", "small"), ("red", "yellow"), ("old", "new"), ("beautiful", "ugly")),
     ("at school", "in the kitchen", "at home")),
    ("drawing", "draw", "cat", (("big", "small"), ("white", "black"), ("beautiful", "ugly")),
     ("at school", "at home")),
    ("riding", "ride", "bicycle", (("old", "new"), ("red", "blue"), ("green", "white"), ("fast", "slow")),
     ("in the park", "to school", "in the street")),
    ("eating", "eat", "apple", (("red", "green"), ("big", "small"), ("good", "bad")),
     ("in the garden", "at school", "in the kitchen")),
    ("playing with", "play with", "ball", (("red", "blue"), ("big", "small"), ("old", "new"), ("hard",
            "soft")),
     ("in the park", "in the street", "in the garden")),
    ("opening", "open", "window", (("big", "small"), ("clean", "dirty"), ("old", "new")),
     ("in the kitchen", "in the bedroom", "at school")),
)
ADJECTIVE_ORDER = (
    "easy", "difficult", "good", "bad", "beautiful", "ugly", "big", "small", "long", "short", "heavy",
    "light",
    "full", "empty", "clean", "dirty", "hard", "soft", "warm", "fast", "slow", "old", "young", "new",
    *COLOURS,
)

LIKED = (
    (
    ("tea", "drinking"), ("coffee", "drinking"), ("milk", "drinking"), ("juice", "drinking"), ("rice",
            "eating"),
    ("fish", "eating"), ("meat", "eating"), ("soup", "eating"), ("cake", "eating"), ("cheese", "eating"),
    ("bread", "eating"),
    ),
    (
    ("the new book", "reading"), ("the long story", "reading"), ("the old song", "singing"),
    ("the red dress", "looking at"), ("the new teacher", "talking to"), ("the old garden", "working in"),
    ("the new house", "looking at"),
    ),
)

# (place phrase, noun for it) which people can fill or leave empty; attributes saying nothing about people.
CROWD_PLACES = (
    ("in the garden", "the garden"), ("in the kitchen", "the kitchen"), ("in the shop", "the shop"),
    ("in the classroom", "the classroom"), ("in the park", "the park"), ("at the station", "the station"),
    ("in the bus", "the bus"), ("in the street", "the street"), ("in the school", "the school"),
)
CROWD_NEUTRAL = ("beautiful", "clean", "cold", "warm", "very old", "new", "small", "very big")
TIMES = ("today", "this morning", "this evening", "now")

# (word, synonym, antonym), with subjects that can have the property.
SYNONYMS = (
    ("small", "little", "big", ("dog", "house", "garden", "car", "box", "kitchen", "cat", "school")),
    ("closed", "shut", "open", ("door of the house", "window", "shop", "box", "door of the school")),
    ("beautiful", "pretty", "ugly", ("dress", "garden", "house", "song", "park", "village")),
    ("loud", "noisy", "quiet", ("street", "classroom", "dog", "bus", "market", "baby")),
    ("fast", "quick", "slow", ("horse", "dog", "car", "bicycle", "boy", "girl")),
    ("ill", "sick", "healthy", ("dog", "boy", "girl", "teacher", "farmer", "cow", "grandmother", "baby")),
    ("happy", "glad", "sad", ("boy", "girl", "teacher", "farmer", "mother", "cook", "grandfather")),
    ("near the school", "close to the school", "far from the school", ("house", "shop", "park", "market",
            "station")),
    ("near the door", "close to the door", "far from the door", ("chair", "bed", "table", "dog", "cat",
            "box")),
)

WEATHER = (("hot", "cold"), ("warm", "cold"), ("dry", "wet"), ("dark", "bright"))
WEATHER_PLACES = ("in the village", "in the park", "in the garden", "at the market", "at the station",
            "in the street")

# Groups for all / some / none, with properties of which any two can go together.
GROUPS = (
    ("children", ("sitting", "in the classroom", "hungry", "wearing hats", "singing")),
    ("boys", ("wet", "playing football", "in the park", "hungry", "happy")),
    ("girls", ("tired", "in the kitchen", "wearing red dresses", "singing", "thirsty")),
    ("dogs", ("black", "old", "in the garden", "hungry", "wet", "big")),
    ("cows", ("white", "young", "in the street", "hungry", "drinking water")),
    ("cats", ("grey", "small", "under the table", "hungry", "clean")),
    ("cars in the street", ("red", "new", "dirty", "wet", "small")),
    ("cups on the table", ("blue", "empty", "clean", "old", "big")),
    ("windows of the school", ("open", "big", "clean", "old")),
    ("books in the bag", ("long", "old", "wet", "heavy")),
    ("apples in the basket", ("red", "big", "good", "clean")),
    ("teachers", ("tired", "at school", "drinking coffee", "reading", "happy")),
)

# States of a person, with the opposite where there is one, and states which say nothing about it.
FEELINGS = (
    ("hungry", "", ("cold", "happy", "singing", "playing with a ball", "waiting for a friend", "standing")),
    ("thirsty", "", ("cold", "happy", "singing", "playing with a ball", "sitting in the garden")),
    ("happy", "sad", ("hungry", "thirsty", "at home", "sitting in the kitchen", "walking to school")),
    ("tired", "", ("hungry", "happy", "at school", "sitting on a chair", "wearing a warm coat")),
    ("ill", "healthy", ("hungry", "at home", "sitting on a chair", "very old", "wearing a warm coat")),
    ("crying", "", ("hungry", "thirsty", "sitting on the floor", "in the bedroom", "wearing a hat")),
    ("angry", "", ("hungry", "standing next to the door", "in the kitchen", "thirsty")),
    ("sad", "happy", ("hungry", "in the park", "sitting next to the window", "thirsty")),
)
