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
    ),
    "day": (
        "by day",
        "at noon",
        "at midday",
        "in the afternoon",
        "in bright daylight",
        "in daytime",
    ),
    "sunset": (
        "at sunset",
        "at dusk",
        "in the evening",
        "as the sun goes down",
        "as the sun sets",
        "at twilight",
    ),
    "night": (
        "at night",
        "by moonlight",
        "under the moon",
        "at midnight",
        "as night falls",
        "under the stars",
    ),
}

PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "sea": ("sea", "ocean", "water", "waves", "bay"),
    "hills": ("hills", "green hills", "meadows", "fields", "valley"),
    "mountains": ("mountains", "peaks", "high mountains", "alps"),
    "desert": ("desert", "dunes", "desert sand"),
    "forest": ("forest", "woods", "pine trees", "trees"),
    "town": ("town", "village", "city", "houses", "roofs"),
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
    ),
    "cloudy": (
        "under a cloudy sky",
        "with clouds",
        "clouds drift by",
        "the sky is overcast",
        "among clouds",
    ),
    "rain": (
        "in the rain",
        "it rains",
        "rain is falling",
        "in a rainstorm",
        "in rainy weather",
        "it is raining",
    ),
    "snow": (
        "in the snow",
        "it snows",
        "snow is falling",
        "in a snowstorm",
        "in snowy weather",
        "snowflakes fall",
    ),
}

SUBJECT_WORDS: dict[str, tuple[str, ...]] = {
    "balloon": ("balloon", "hot air balloon", "air balloon"),
    "boat": ("boat", "sailing boat", "sailboat", "ship"),
    "train": ("train", "steam train", "locomotive"),
    "kite": ("kite", "paper kite"),
    "bird": ("bird", "songbird"),
    "fox": ("fox", "little fox"),
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
    "red": ("red", "red", "crimson", "scarlet"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "azure"),
    "purple": ("purple", "purple", "violet"),
    "white": ("white", "white", "pale"),
}

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "far": ("far away", "in the distance", "small and far"),
    "middle": ("",),
    "near": ("close by", "very near", "up close"),
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
    )
    phrases = [phrase for table in tables for choices in table.values() for phrase in choices]
    phrases += [*PLACE_PREPOSITIONS, *OPENINGS, *CLOSINGS, *EXTRA]
    return sorted({word for phrase in phrases for word in phrase.split()})


# Words without meaning for a scene, and punctuation.
EXTRA = (
    "a an the is it there of and with on in at by to from then while where when , . : ; ! ?",
    "has have comes come goes go begins appears passes moves turns sky weather scene",
)
