"""The vocabulary of captions: every phrase, by the attribute value that it names."""

from __future__ import annotations

TIME_WORDS: dict[str, tuple[str, ...]] = {
    "dawn": (
        "at dawn",
        "at sunrise",
        "in the early morning",
        "as the sun rises",
        "at daybreak",
        "at first light",
        "in the morning",
    ),
    "day": (
        "by day",
        "at noon",
        "at midday",
        "in the afternoon",
        "in bright daylight",
        "in daytime",
        "during the day",
    ),
    "sunset": (
        "at sunset",
        "at dusk",
        "in the evening",
        "as the sun goes down",
        "as the sun sets",
        "at twilight",
        "at sundown",
        "at the golden hour",
    ),
    "night": (
        "at night",
        "by moonlight",
        "under the moon",
        "at midnight",
        "as night falls",
        "under the stars",
        "under a starry sky",
        "in moonlight",
        "in the dark",
        "at nighttime",
    ),
}

PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "sea": (
        *("sea", "ocean", "water", "waves", "bay", "beach", "coast", "shore", "seaside"),
        *("harbour", "harbor", "port", "lake", "river", "island", "lagoon"),
    ),
    "hills": (
        *("hills", "green hills", "meadows", "fields", "valley", "hill", "meadow", "field"),
        *("countryside", "grass", "farm", "park", "garden", "prairie"),
    ),
    "mountains": (
        *("mountains", "peaks", "high mountains", "alps", "mountain", "mountain range"),
        *("cliffs", "rocks", "summit", "peak"),
    ),
    "desert": ("desert", "dunes", "desert sand", "sand", "sahara", "cactus", "dune"),
    "forest": (
        *("forest", "woods", "pine trees", "trees", "wood", "jungle", "pines", "woodland"),
        *("tree", "grove"),
    ),
    "town": (
        *("town", "village", "city", "houses", "roofs", "street", "streets", "buildings"),
        *("skyline", "downtown", "house", "rooftops"),
    ),
}
PLACE_PREPOSITIONS = (
    "over the",
    "by the",
    "at the",
    "in the",
    "near the",
    "past the",
    "across the",
)

WEATHER_WORDS: dict[str, tuple[str, ...]] = {
    "clear": (
        "under a clear sky",
        "in fine weather",
        "without a cloud",
        "the sky is clear",
        "a cloudless sky",
        "it is sunny",
        "in the sun",
        "in sunshine",
    ),
    "cloudy": (
        "under a cloudy sky",
        "with clouds",
        "clouds drift by",
        "the sky is overcast",
        "among clouds",
        "it is cloudy",
        "in fog",
        "in the mist",
        "it is foggy",
        "it is misty",
        "under a grey sky",
    ),
    "rain": (
        "in the rain",
        "it rains",
        "rain is falling",
        "in a rainstorm",
        "in rainy weather",
        "it is raining",
        "in a storm",
        "it is stormy",
        "in a thunderstorm",
        "in drizzle",
        "in pouring rain",
    ),
    "snow": (
        "in the snow",
        "it snows",
        "snow is falling",
        "in a snowstorm",
        "in snowy weather",
        "snowflakes fall",
        "it is snowing",
        "in winter",
        "in a blizzard",
        "in snowfall",
    ),
}

SUBJECT_WORDS: dict[str, tuple[str, ...]] = {
    "balloon": (
        *("balloon", "hot air balloon", "air balloon", "hot - air balloon", "airship"),
        *("zeppelin", "blimp"),
    ),
    "boat": (
        *("boat", "sailing boat", "sailboat", "ship", "yacht", "sailing ship", "vessel"),
        *("dinghy", "canoe"),
    ),
    "train": (
        *("train", "steam train", "locomotive", "steam engine", "engine", "tram", "railway"),
        *("car", "bus", "truck"),
    ),
    "kite": ("kite", "paper kite", "glider"),
    "bird": (
        *("bird", "songbird", "seagull", "gull", "eagle", "parrot", "owl", "sparrow", "dove"),
        *("duck", "swan", "crow", "robin", "hawk"),
    ),
    "fox": ("fox", "little fox", "dog", "wolf", "cat", "puppy", "kitten", "animal"),
}

VERBS: dict[str, tuple[str, ...]] = {
    "balloon": ("floats", "rises", "drifts", "floating", "rising"),
    "boat": ("sails", "glides", "drifts", "sailing", "gliding"),
    "train": ("rolls", "steams", "travels", "rolling", "crossing"),
    "kite": ("dances", "flies", "flutters", "dancing", "flying"),
    "bird": ("flies", "glides", "flaps its wings", "flying", "soaring"),
    "fox": ("walks", "trots", "wanders", "walking", "trotting"),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "red", "crimson", "scarlet", "ruby", "pink", "brown"),
    "yellow": ("yellow", "yellow", "yellow", "golden", "gold", "orange", "amber"),
    "green": ("green", "green", "green", "emerald", "lime", "olive"),
    "blue": ("blue", "blue", "blue", "azure", "turquoise", "navy", "teal", "cyan"),
    "purple": ("purple", "purple", "purple", "violet", "lilac", "lavender", "magenta"),
    "white": ("white", "white", "white", "pale", "silver", "ivory", "grey", "gray"),
}

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "far": ("far away", "in the distance", "small and far", "tiny", "far off", "distant"),
    "middle": ("",),
    "near": ("close by", "very near", "up close", "big", "large", "huge", "close"),
}

SIDE_WORDS: dict[str, tuple[str, ...]] = {
    "middle": ("",),
    "left": ("from the left", "on the left", "left"),
    "right": ("from the right", "on the right", "right"),
}

OPENINGS = (
    "",
    "",
    "",
    "",
    "a picture of",
    "we see",
    "look ,",
    "now",
    "once upon a time",
    "a storybook scene :",
    "here is",
    "and then",
    "a beautiful scene with",
    "the story goes on :",
)
CLOSINGS = (
    "",
    "",
    "",
    "",
    "slowly",
    "quietly",
    "all alone",
    "and it is calm",
    "what a view",
    "gently",
)


def vocabulary() -> list[str]:
    """List every word of the captions, sorted."""
    tables = (
        TIME_WORDS,
        PLACE_WORDS,
        WEATHER_WORDS,
        SUBJECT_WORDS,
        VERBS,
        COLOUR_WORDS,
        SIZE_WORDS,
        SIDE_WORDS,
    )
    phrases = [phrase for table in tables for choices in table.values() for phrase in choices]
    phrases += [*PLACE_PREPOSITIONS, *OPENINGS, *CLOSINGS, *EXTRA]
    return sorted({word for phrase in phrases for word in phrase.split()})


# Words without meaning for a scene, and punctuation.
EXTRA = (
    "a an the is it there of and with on in at by to from then while where when , . : ; ! ? -",
    "has have comes come goes go begins appears passes moves turns sky weather scene",
)


def synonyms() -> dict[str, str]:
    """Map each word that only one value's phrases have to the name of that value."""
    values: dict[str, set[str]] = {}
    plain = {word for phrase in EXTRA for word in phrase.split()}
    for table in (TIME_WORDS, PLACE_WORDS, WEATHER_WORDS, SUBJECT_WORDS, COLOUR_WORDS):
        for value, phrases in table.items():
            for word in {word for phrase in phrases for word in phrase.split()} - plain:
                values.setdefault(word, set()).add(value)
    return {word: min(names) for word, names in values.items() if len(names) == 1}
