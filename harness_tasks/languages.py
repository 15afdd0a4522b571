"""The languages of both targets."""

XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
XCOPA_LANGUAGES = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
TARGET_LANGUAGES = {"xnli": XNLI_LANGUAGES, "xcopa": XCOPA_LANGUAGES}
