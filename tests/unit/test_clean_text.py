"""Texts without markup, broken characters and repetitions; what only looks like them stays."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.clean import clean, distinct
from encoders.clean_text import repaired, same_text, tidy, without_markup, without_repeats
from encoders.content import TextContent
from encoders.preparation import PrepareConfig, Unusable

ON = PrepareConfig()


def cleaned(text: str) -> str:
    return clean(TextContent(text), ON).content.text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<p>Hello <b>big</b> world</p>", "Hello big world"),
        ("<div>one</div><div>two<br>three</div>", "one\ntwo\nthree"),
        ("a<script>if (x < y) { steal() }</script>b<style>p{}</style>", "a\nb"),
        ("AT&amp;T &lt;3 &#8364;5 &copy;", "AT&T <3 €5 ©"),
        ('<a href="http://x.example/?a=1&b=2">here</a> <img src="x.png" alt="">', "here"),
        ("<!DOCTYPE html><!-- not said --><h1>Title</h1>text", "Title\ntext"),
        ("**bold**, *leaning*, __strong__, ~~gone~~ and `code`",
         "bold, leaning, strong, gone and code"),
        ("# Head\n- one\n* two\n> said\n---\n```python\nx\n```", "Head\none\ntwo\nsaid\nx"),
        ("[a link](https://x.example/y) ![a picture](z.png)", "a link a picture"),
    ],
    ids=["inline", "blocks", "script", "entities", "attributes", "comment", "emphasis",
         "lines", "links"],
)  # fmt: skip
def test_markup_is_taken_off(text, left):
    assert cleaned(text) == left


@pytest.mark.parametrize(
    "text",
    ["M*A*S*H", "5 * 3 * 2 = 30", "snake_case_name", "x < y and y > z", "I <3 you",
     "List<String> and <unknown>", "AT&T", "Q&A: R&D", "#1 in 1999", "[REC] (2007)",
     "-5 degrees", "*batteries not included", "a ` b", "Se7en & Fargo; 8½", "C# *and", "1) x"],
)  # fmt: skip
def test_what_only_looks_like_markup_stays(text):
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("schÃ¶n, cafÃ©", "schön, café"),
        ("â€œquotedâ€\x9d â€” yes", "“quoted” — yes"),
        ("æ—¥æœ¬èªž", "日本語"),
        ("e\u0301te\u0301", "été"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
        ("bell\x07 null\x00 tab\tend", "bell null tab end"),
    ],
    ids=["latin", "quotes", "japanese", "decomposed", "unseen", "control"],
)
def test_broken_characters_are_put_right(broken, whole):
    assert cleaned(broken) == whole


@pytest.mark.parametrize(
    "text",
    ["¡Olé! Ünïcödé “quotes” 日本語 한국어", "می‌خواهم", "family 👨‍👩‍👧 and flag 🇩🇪", "½ of five",
     "Les Misérables — ça va?"],
    ids=["languages", "Persian", "emoji", "fraction", "French"],
)  # fmt: skip
def test_what_is_whole_is_left_alone(text):
    assert repaired(text) == unicodedata.normalize("NFC", text)


def test_a_sentence_that_comes_again_is_said_once():
    text = "Toy Story\nToy Story. Toys are alive. TOYS ARE ALIVE!\nBuy now.\nx\nBuy now."
    assert cleaned(text) == "Toy Story\nToys are alive.\nBuy now.\nx"


def test_short_words_may_be_said_again():
    assert (
        without_repeats("No. No. No! Mr. A. met Mr. B.") == "No. No. No! Mr. A. met Mr. B."
    )


@pytest.mark.parametrize(
    "text", ["", "  \n ", "<br/>", "\u200b\u200d", "<script>all of it</script>", "&nbsp;"]
)
def test_a_text_of_which_nothing_is_left_is_refused(text):
    with pytest.raises(Unusable) as caught:
        clean(TextContent(text), ON)
    assert caught.value.reason == "empty"


def test_nearly_the_same_text_counts_once():
    words = " ".join(f"word{n}" for n in range(60))
    texts = [words, words.upper() + "!", words + " end", "another text of its own", ""]
    assert distinct([TextContent(t) for t in texts]) == [0, 3, 4]
    assert not same_text("I like it", "I like it not at all")


@given(text=st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_cleaned_or_refused_and_what_is_left_is_tidy(text):
    try:
        left = cleaned(text)
    except Unusable:
        return
    assert left == tidy(left)
    assert left == unicodedata.normalize("NFC", left)
    assert not {unicodedata.category(c) for c in left if c != "\n"} & {"Cc", "Cs"}


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<b>",
        "<!--",
        "**a",
        "[",
        "[a](",
        "&",
        "_a ",
        "`a",
        "<script>",
        "Ã©",
        "> ",
    ],
)
@pytest.mark.timeout(20)
def test_a_hostile_text_takes_no_longer_than_its_length(piece):
    text = piece * (65_536 // len(piece))
    assert len(without_repeats(repaired(without_markup(text)))) <= 65_536 * 2
