from itertools import islice

from promptmill.cli.sample_prompts import LANGUAGES, translation_prompts, unique_sentences


def test_there_are_enough_different_sentences_for_the_large_demo() -> None:
    found = list(unique_sentences())

    assert len(found) >= 5500
    assert len(set(found)) == len(found)


def test_the_sentences_are_the_same_every_time() -> None:
    assert list(islice(unique_sentences(), 500)) == list(islice(unique_sentences(), 500))


def test_a_sentence_is_prose() -> None:
    for sentence in unique_sentences():
        assert 20 <= len(sentence) <= 400
        assert sentence[0].isupper()
        assert sentence[-1] in ".!?"
        assert "\n" not in sentence


def test_when_the_sentences_are_used_up_they_are_translated_to_another_language() -> None:
    known = list(unique_sentences())

    prompts = list(translation_prompts(len(known) * 2 + 1))

    assert len(set(prompts)) == len(prompts)
    assert prompts[0] == f"Translate to {LANGUAGES[0]}: {known[0]}"
    assert prompts[len(known)] == f"Translate to {LANGUAGES[1]}: {known[0]}"
    assert prompts[-1] == f"Translate to {LANGUAGES[2]}: {known[0]}"
