"""Captioners: CLAP tagging, an audio endpoint, a tiny audio language model, the template; and the caption stage."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from builders import make_clip
from endpoint_server import Body, EndpointServer, Response, chat, error
from reporters import RecordingReporter
from tiny_llm import byte_tokenizer, tiny_gemma
from tiny_models import with_half_of
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3EncoderConfig,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    AutoModelForMultimodalLM,
    PretrainedConfig,
    Qwen2_5OmniConfig,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen3OmniMoeConfig,
    WhisperFeatureExtractor,
)
from transformers.utils import is_torchvision_available

from synthio.audio import Waveform
from synthio.backends.audio_llm import TransformersCaptioner, _config, _text_only
from synthio.backends.captioner import Captioner, TemplateCaptioner, read_caption
from synthio.backends.choices import Resources, load_captioner
from synthio.backends.clap_tagger import ClapTagger
from synthio.backends.endpoint import ChatAnswer
from synthio.backends.endpoint_captioner import EndpointCaptioner
from synthio.backends.questions import lines
from synthio.calls import Answer, Calls
from synthio.config import CaptionConfig, DataConfig, EndpointConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError, MissingDependency, ModelError
from synthio.progress import Reporter
from synthio.records import Caption, Clip
from synthio.stages.caption import caption_clips
from synthio.store import StageFolder

RATE = 16_000
AUDIO_SPECIAL = ["<pad>", "<eos>", "<bos>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]


class WordClap:
    """Stands in for a CLAP: texts are points on a sphere by their hash, and a waveform is the text it spells."""

    logit_scale = 10.0
    sample_rate_hz = RATE

    def embed_text(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.stack([self._row(text) for text in texts])

    def embed_audio(self, waveforms: Sequence[Waveform]) -> np.ndarray[Any, np.dtype[np.float32]]:
        spelled = ["".join(chr(round(float(sample) * 128)) for sample in waveform) for waveform in waveforms]
        rows = [np.sum([self._row(text) for text in s.split("|")], axis=0) for s in spelled]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    @staticmethod
    def _row(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        row = np.random.default_rng(seed).normal(size=1024)
        return (row / np.linalg.norm(row)).astype(np.float32)


def spell(*texts: str) -> Waveform:
    """A waveform that `WordClap` hears as these texts."""
    return np.array([ord(c) / 128 for c in "|".join(texts)], dtype=np.float32)


def tone(seconds: float = 0.5, hz: float = 440.0) -> Waveform:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


# CLAP tagging ---------------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_large_and_has_no_repeats() -> None:
    entries = lines("tags")
    assert entries[0] == "[qualities]"
    assert len(set(entries)) == len(entries) > 300


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "a flute with a breathy tone"),
        (2, "a flute with a breathy tone and rain on leaves in the background"),
        (3, "a flute with a breathy tone and vibrato and rain on leaves in the background"),
    ],
)
def test_tags_become_a_sentence(count: int, sentence: str) -> None:
    context = "a flute with rain on leaves in the background"
    heard = spell(*["a sound with a breathy tone"] * 2, "a sound with vibrato", *[context] * 3)
    assert ClapTagger(WordClap(), count).caption([heard], [("flute",)]) == [Answer(sentence)]


def test_a_background_is_named_only_where_it_is_likelier_than_none() -> None:
    tagger, quality = ClapTagger(WordClap(), 2), "a sound with a breathy tone"
    # Cosine of the context in these: 0, 0.32 and 0.71. Among 241 backgrounds at scale 10 it must lead by 0.55.
    context = "a flute with rain on leaves in the background"
    clips = [spell(quality), spell(quality, quality, quality, context), spell(quality, context)]
    found = [str(result.text) for result in tagger.caption(clips, [("flute",)] * 3)]
    assert ["background" in text for text in found] == [False, False, True]
    # Qualities take the place of a background that is not there.
    assert all(text.startswith("a flute with a breathy tone and ") for text in found)


def test_tags_never_name_the_label_and_clips_never_change_each_other() -> None:
    tagger = ClapTagger(WordClap(), 2)
    heard = [spell("a rain with rain in the background"), spell("a flute"), spell("a sound with vibrato")]
    labels = [("rain",), ("flute",), ("car_horn", "organ")]
    together = tagger.caption(heard, labels)
    assert together == [tagger.caption([w], [each])[0] for w, each in zip(heard, labels, strict=True)]
    texts = [str(result.text) for result in together]
    assert texts[0].startswith("a rain with ")
    assert texts[0].count("rain") == 1
    assert texts[1].count("flute") == 1
    assert texts[2].startswith("a car horn and organ with vibrato and ")
    assert tagger.caption([], []) == []


# Endpoint -------------------------------------------------------------------------------------------------------------


def endpoint(server: EndpointServer, **changes: Any) -> EndpointConfig:
    return EndpointConfig(base_url=server.base_url, **changes)


def test_the_endpoint_hears_the_clip_and_reads_the_label(tmp_path: Path) -> None:
    with EndpointServer(lambda body, earlier: chat(" A b, the flute\n plays. ", 7, 3)) as server:
        captioner = EndpointCaptioner(endpoint(server), Reporter(), tmp_path)
        found = captioner.caption([tone(), tone(0.2)], [('the "flute"', "flute"), ("a_b",)])
    assert found == [ChatAnswer("A b, the flute plays.", None, 7, 3)] * 2
    by_text = {seen.text: seen for seen in server.seen}
    assert any('"the \\"flute\\" and flute"' in text for text in by_text)
    lengths = []
    for seen in server.seen:
        part = next(p for p in seen.body["messages"][0]["content"] if p["type"] == "input_audio")
        samples, rate = sf.read(io.BytesIO(base64.b64decode(part["input_audio"]["data"])))
        assert (part["input_audio"]["format"], rate) == ("wav", RATE)
        assert np.abs(samples).max() == pytest.approx(0.9, abs=0.01)
        lengths.append(len(samples))
    assert sorted(lengths) == [3200, 8000]


@pytest.mark.parametrize(
    ("said", "ends", "why"),
    [
        ("I'm sorry, but I can't listen to audio.", "stop", "it is a refusal: I'm sorry, but I can't listen"),
        ("A flute plays a long and", "length", "cut after 5 tokens"),
        ("<think>A flute? The user wants one sentence.", "length", "before the answer began"),
    ],
)
def test_a_refusal_and_half_a_sentence_are_no_captions(said: str, ends: str, why: str, tmp_path: Path) -> None:
    message = {"role": "assistant", "content": said}
    body = {**json.loads(chat("").body), "choices": [{"index": 0, "finish_reason": ends, "message": message}]}
    with EndpointServer(lambda body_, earlier: Response(body=json.dumps(body).encode())) as server:
        (found,) = EndpointCaptioner(endpoint(server), Reporter(), tmp_path).caption([tone()], [("flute",)])
    assert found.text is None and why in str(found.failed)


def test_an_endpoint_failure_is_a_result_and_a_wrong_key_is_not(tmp_path: Path) -> None:
    with EndpointServer(
        lambda body, earlier: chat("?") if "silence" in str(body) else error(422, "too loud")
    ) as server:
        found = EndpointCaptioner(endpoint(server), Reporter(), tmp_path).caption([tone()], [("flute",)])
    assert found[0].text is None
    assert "too loud" in str(found[0].failed)
    with EndpointServer(lambda body, earlier: error(401)) as server, pytest.raises(BackendError, match="key"):
        EndpointCaptioner(endpoint(server), Reporter(), tmp_path).caption([tone()], [("flute",)])


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("A violin's flutes\u2019 sound, ", "A violin's flutes\u2019 sound"),
        ("<think>A flute, I hear.</think>\nA low flute", "A low flute"),
        ("I can hear a flute", "I can hear a flute"),
        ("I\u2019m sorry, but I can\u2019t hear the flute.", None),
        ("Unfortunately, no flute was attached", None),
        ("<think>A flute", None),
        ("A trumpet plays", None),
    ],
    ids=ascii,
)
def test_what_does_not_describe_the_label_is_no_caption(text: str, caption: str | None, tmp_path: Path) -> None:
    """A refusal was the caption of every clip."""
    with EndpointServer(lambda body, earlier: chat(text)) as server:
        found = EndpointCaptioner(endpoint(server), Reporter(), tmp_path).caption([tone()], [("flute",)])[0]
    assert (found.text, bool(found.failed)) == (caption, caption is None)
    assert read_caption(text, ("flute",)).text == caption


# transformers ---------------------------------------------------------------------------------------------------------


def audio_chat(sign: str) -> str:
    """A chat template that writes ``sign`` for an audio part."""
    return (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'audio' %}"
        f"{sign}{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}{{% endfor %}}\n"
    )


def tiny_writer(vocabulary: int) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=2,
    )


@pytest.fixture(scope="module")
def flamingo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random-weight `AudioFlamingo3ForConditionalGeneration` with its processor."""
    folder = tmp_path_factory.mktemp("flamingo")
    tokenizer = byte_tokenizer([*AUDIO_SPECIAL, "<sound>"])
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1, sampling_rate=RATE)
    processor = AudioFlamingo3Processor(extractor, tokenizer)
    processor.chat_template = audio_chat("<sound>")
    heard = AudioFlamingo3EncoderConfig(
        num_mel_bins=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_source_positions=50,
    )
    torch.manual_seed(0)
    sign = tokenizer.convert_tokens_to_ids("<sound>")
    config = AudioFlamingo3Config(audio_config=heard, text_config=tiny_writer(len(tokenizer)), audio_token_id=sign)
    AudioFlamingo3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random-weight `Qwen2AudioForConditionalGeneration` with its processor."""
    folder = tmp_path_factory.mktemp("qwen-audio")
    tokenizer = byte_tokenizer(AUDIO_SPECIAL)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1, sampling_rate=RATE)
    processor = Qwen2AudioProcessor(extractor, tokenizer)
    processor.chat_template = audio_chat("<|audio_bos|><|AUDIO|><|audio_eos|>")
    # The encoder takes exactly two frames per position: 1 s at 100 frames per second.
    heard = Qwen2AudioEncoderConfig(
        num_mel_bins=16,
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        max_source_positions=50,
    )
    torch.manual_seed(0)
    config = Qwen2AudioConfig(audio_config=heard, text_config=tiny_writer(len(tokenizer)), audio_token_index=3)
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model", ["qwen_audio", "flamingo"])
def test_an_audio_language_model_captions_in_batches(request: pytest.FixtureRequest, model: str) -> None:
    """Also clips that do not fill the encoder's window."""
    folder = str(request.getfixturevalue(model))
    labels = [("flute",), ("a much longer label",), ("<|AUDIO|>",)]
    heard = [tone(0.4), tone(0.9, 200.0), tone(0.6, 900.0)]
    captioner = TransformersCaptioner(folder, None, "cpu", 3, Reporter())
    together = captioner.caption(heard, labels)
    alone = TransformersCaptioner(folder, None, "cpu", 1, Reporter()).caption(heard, labels)
    assert together == alone
    assert all(result.text or result.failed for result in together)
    # Random weights mostly find no end; half a sentence is no caption.
    cut = [result.output_tokens for result in together if str(result.failed).startswith("cut after")]
    assert cut and min(cut) > max([result.output_tokens for result in together if result.output_tokens < 75], default=0)
    assert all(result.input_tokens > 0 and 0 < result.output_tokens <= 80 for result in together)
    assert captioner.sample_rate_hz == RATE


def test_a_captioner_tells_when_memory_runs_out_and_keeps_what_fits(
    flamingo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It halved its batches in every call anew, and nobody heard."""
    notes = RecordingReporter()
    captioner = TransformersCaptioner(str(flamingo), None, "cpu", 2, notes)
    generate = captioner._model.generate
    sizes: list[int] = []

    def small_card(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("a small GPU")
        return generate(**inputs)

    monkeypatch.setattr(captioner._model, "generate", small_card)
    heard, labels = [tone(0.3), tone(0.4)], [("flute",), ("oboe",)]
    assert captioner.caption(heard, labels) == captioner.caption(heard, labels)
    assert sizes == [2, 1, 1, 1, 1]
    assert notes.warnings == ["out of memory: going on with batches of 1"]


def test_what_a_model_pads_with_is_no_part_of_a_caption(flamingo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate` has a padding of its own: rows that had ended were cut, and their padding was paid for."""
    captioner = TransformersCaptioner(str(flamingo), None, "cpu", 2, Reporter())
    tokenizer, settings = captioner._processor.tokenizer, captioner._model.generation_config
    word, settings.pad_token_id = tokenizer.eos_token_id + 2, tokenizer.eos_token_id + 1
    assert settings.pad_token_id != tokenizer.pad_token_id

    def generate(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        short = [word, tokenizer.eos_token_id, settings.pad_token_id, settings.pad_token_id]
        return torch.cat([input_ids, torch.tensor([short, [word] * 4])], dim=1)

    monkeypatch.setattr(captioner._model, "generate", generate)
    short, cut = captioner.caption([tone(0.3), tone(0.4)], [("flute",), ("oboe",)])
    assert "cut" not in str(short.failed) and short.output_tokens == 2
    assert cut.failed == "cut after 4 tokens"


def test_an_omni_model_is_asked_for_text_only() -> None:
    """Its `generate` has a length of its own (1,024 tokens), and speaks unless told not to."""

    class Omni:
        has_talker = True

    assert _text_only(Omni()) == {"generation_mode": "text", "thinker_max_new_tokens": 80}
    assert _text_only(object()) == {"max_new_tokens": 80}


@pytest.mark.parametrize(("model", "is_cut"), [("qwen_audio", True), ("flamingo", False)])
def test_a_clip_that_is_not_heard_to_its_end_is_told_once(
    request: pytest.FixtureRequest, model: str, is_cut: bool
) -> None:
    """Qwen2-Audio hears 30 s, here 1 s; Audio Flamingo 3 hears window after window."""
    reporter = RecordingReporter()
    captioner = TransformersCaptioner(str(request.getfixturevalue(model)), None, "cpu", 1, reporter)
    captioner.caption([tone(1.0)], [("flute",)])
    assert reporter.warnings == []
    for _ in range(2):
        captioner.caption([tone(0.5), tone(2.5)], [("flute",), ("oboe",)])
    assert len(reporter.warnings) == is_cut
    assert all("hears 1 s of a clip, and one has 2.5 s" in warning for warning in reporter.warnings)


@pytest.mark.parametrize("settings", [Qwen2_5OmniConfig, Qwen3OmniMoeConfig, Qwen2AudioConfig])
def test_an_omni_model_is_loaded_without_its_voice(settings: type[PretrainedConfig], tmp_path: Path) -> None:
    """Talker and vocoder took memory, and nothing heard them."""
    settings().save_pretrained(tmp_path)
    config = _config(str(tmp_path), None)
    assert not getattr(config, "enable_audio_output", False)
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config)
    assert not {name.partition(".")[0] for name, _ in model.named_parameters()} & {"talker", "token2wav", "code2wav"}


def test_audio_models_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        TransformersCaptioner(str(tmp_path / "nowhere"), None, "cpu", 1, Reporter())
    with pytest.raises(ModelError, match="gemma3_text"):
        TransformersCaptioner(str(tiny_gemma(tmp_path)), None, "cpu", 1, Reporter())


@pytest.mark.skipif(is_torchvision_available(), reason="torchvision is here")
def test_a_model_that_needs_another_package_names_it(tmp_path: Path) -> None:
    """It said to check the model's files."""
    Qwen2_5OmniConfig().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    # As that of Qwen/Qwen2.5-Omni-7B.
    kinds = {"feature_extractor_type": "WhisperFeatureExtractor", "image_processor_type": "Qwen2VLImageProcessor"}
    settings = {**kinds, "processor_class": "Qwen2_5OmniProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(MissingDependency, match=r"not installed \(Qwen.*Torchvision.*\); install it, or use caption"):
        TransformersCaptioner(str(tmp_path), None, "cpu", 1, Reporter())


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_with_half_a_file_says_so(file: str, qwen_audio: Path, tmp_path: Path) -> None:
    """Half of the weights ended in a traceback."""
    folder = with_half_of(file, qwen_audio, tmp_path / "captioner")
    with pytest.raises(ModelError, match=r"caption\.model .*captioner' cannot be loaded .*; check its files"):
        TransformersCaptioner(str(folder), None, "cpu", 1, Reporter())


# The recipe picks -----------------------------------------------------------------------------------------------------


def resources(cache: Path) -> Resources:
    return Resources(Reporter(), cache, WordClap)


def test_the_recipe_picks_the_captioner(tmp_path: Path) -> None:
    assert isinstance(load_captioner(CaptionConfig(kind="template"), resources(tmp_path)), TemplateCaptioner)
    assert isinstance(load_captioner(CaptionConfig(kind="clap"), resources(tmp_path)), ClapTagger)
    assert isinstance(load_captioner(CaptionConfig(kind="endpoint"), resources(tmp_path)), EndpointCaptioner)
    with pytest.raises(ModelError, match="no pocket audio language model"):
        load_captioner(CaptionConfig(kind="transformers"), resources(tmp_path))


# The stage ------------------------------------------------------------------------------------------------------------


def clips(folder: Path, count: int) -> list[Clip]:
    made = []
    for index in range(count):
        path = folder / f"clip {index}.wav"
        sf.write(path, tone(1.0 + index, 300 + 50 * index), RATE)
        split = "test" if index == 1 else "train"
        made.append(make_clip(id=f"c{index}", path=str(path), labels=("flute",), split=split, duration_s=1.0 + index))
    return made


def run(tmp_path: Path, found: Sequence[Clip], captioner: Captioner) -> tuple[list[Caption], StageFolder]:
    config = RunConfig(run_folder=tmp_path, data=DataConfig(path="x", max_duration_s=2.5))
    folder = StageFolder(tmp_path, "caption", "key")
    return caption_clips(StageContext(config, folder, Reporter()), found, captioner), folder


def test_training_clips_are_captioned_and_failures_recorded(tmp_path: Path) -> None:
    found = clips(tmp_path, 4)
    Path(found[2].path).unlink()
    lengths: list[int] = []

    def script(body: Body, earlier: int) -> Response:
        part = next(p for p in body["messages"][0]["content"] if p["type"] == "input_audio")
        lengths.append(len(sf.read(io.BytesIO(base64.b64decode(part["input_audio"]["data"])))[0]))
        return chat("a flute in rain", 5, 2)

    with EndpointServer(script) as server:
        captions, folder = run(tmp_path, found, EndpointCaptioner(endpoint(server), Reporter(), tmp_path))
    assert [(c.id, c.text) for c in captions] == [
        ("c0", "a flute in rain"),
        ("c2", "Sound of a flute"),
        ("c3", "a flute in rain"),
    ]
    assert "no such file" in str(captions[1].failed)
    assert sorted(lengths) == [RATE, int(2.5 * RATE)]
    assert folder.manifest(Caption) == captions
    summary = folder.summary()
    assert (summary["captions"], summary["failed"]) == (3, 1)
    usage = {"requests": 2, "failed_requests": 0, "input_tokens": 10, "output_tokens": 4}
    assert summary["usage"] == usage


def test_an_empty_caption_is_none(tmp_path: Path) -> None:
    class Blank(TemplateCaptioner):
        def caption(self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Any) -> list[Answer]:
            return [Answer(" ") for _ in labels]

    captions, folder = run(tmp_path, clips(tmp_path, 1), Blank())
    assert [(c.text, c.failed) for c in captions] == [("Sound of a flute", "no caption came back")]
    assert folder.summary()["failed"] == 1


def two_per_call(server: EndpointServer, cache_folder: Path) -> EndpointCaptioner:
    made = EndpointCaptioner(endpoint(server, concurrency=1), Reporter(), cache_folder)
    made.clips_per_call = 2
    return made


def test_a_killed_caption_stage_goes_on(tmp_path: Path) -> None:
    found = clips(tmp_path, 5)

    def mortal(body: Body, earlier: int) -> Response:
        return error(401) if earlier >= 2 else chat("a flute before", 5, 2)

    with EndpointServer(mortal) as server, pytest.raises(BackendError):
        run(tmp_path, found, two_per_call(server, tmp_path / "cache"))
    with EndpointServer(lambda body, earlier: chat("a flute after", 7, 3)) as server:
        captions, folder = run(tmp_path, found, two_per_call(server, tmp_path / "cache"))
    assert [c.text for c in captions] == ["a flute before"] * 2 + ["a flute after"] * 2
    usage = folder.summary()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (2 * 5 + 2 * 7, 2 * 2 + 2 * 3)


def test_a_clip_that_failed_as_the_endpoint_went_down_is_asked_about_again(tmp_path: Path) -> None:
    """It kept the label template for good, and the resumed run was another than an undisturbed one."""
    found = clips(tmp_path, 5)

    def dying(body: Body, earlier: int) -> Response:
        return [chat("a flute before", 5, 2), error(400), error(401)][min(earlier, 2)]

    with EndpointServer(dying) as server, pytest.raises(BackendError):
        run(tmp_path, found, two_per_call(server, tmp_path / "cache"))
    with EndpointServer(lambda body, earlier: chat("a flute after", 7, 3)) as server:
        captions, _ = run(tmp_path, found, two_per_call(server, tmp_path / "cache"))
    assert [c.text for c in captions] == ["a flute before"] + ["a flute after"] * 3
    assert not any(c.failed for c in captions)


def test_an_outage_costs_no_clip_its_caption(tmp_path: Path) -> None:
    """18 of 20 clips kept the label template for good, and the run went on."""
    found = clips(tmp_path, 5)
    limited = EndpointServer(lambda body, earlier: chat("a flute before") if earlier == 0 else error(429, "slow down"))
    with limited as server, pytest.raises(BackendError, match=r"slow down.*resumes"):
        run(tmp_path, found, EndpointCaptioner(endpoint(server, concurrency=1, max_retries=0), Reporter(), tmp_path))
    paid = StageFolder(tmp_path, "caption", "key").items(Calls).values()
    assert sum(each.output_tokens for each in paid) == 5
    with EndpointServer(lambda body, earlier: chat("a flute after")) as server:
        captions, _ = run(tmp_path, found, EndpointCaptioner(endpoint(server), Reporter(), tmp_path))
    assert not any(c.failed for c in captions)


def test_a_clip_that_was_captioned_is_not_paid_for_again(tmp_path: Path) -> None:
    """As by a draw of the same clips, or another seed."""
    heard, labels = [tone(), tone(0.2), tone()], [("flute",), ("flute",), ("oboe",)]

    def ears(**changes: Any) -> Captioner:
        section = CaptionConfig(kind="endpoint", endpoint=endpoint(server, concurrency=1, **changes))
        return load_captioner(section, resources(tmp_path))

    with EndpointServer(lambda body, earlier: chat(f"flute or oboe {earlier}", 7, 3)) as server:
        first = ears().caption(heard[:2], labels[:2])
        again = ears(max_tokens=2000).caption(heard, labels)
        assert [answer.text for answer in again] == [*(answer.text for answer in first), "flute or oboe 2"]
        assert [answer.output_tokens for answer in again] == [0, 0, 3]
        ears(model="another").caption(heard[:1], labels[:1])
    assert len(server.seen) == 4


def test_what_was_cut_before_it_began_is_paid_for_once(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "<think>A flute? Or"}
    body = {**json.loads(chat("").body), "choices": [{"index": 0, "finish_reason": "length", "message": message}]}
    found = []
    with EndpointServer(lambda body_, earlier: Response(body=json.dumps(body).encode())) as server:
        for max_tokens in (100, 100, 200):
            ears = EndpointCaptioner(endpoint(server, max_tokens=max_tokens), Reporter(), tmp_path)
            found += ears.caption([tone()], [("flute",)])
    assert len(server.seen) == 2
    assert found[0].failed == found[1].failed and "before the answer began" in str(found[1].failed)


def test_a_killed_captioner_keeps_what_was_answered(tmp_path: Path) -> None:
    found = clips(tmp_path, 5)

    def mortal(body: Body, earlier: int) -> Response:
        return error(401) if earlier == 2 else chat("a flute")

    with EndpointServer(mortal) as server:
        section = CaptionConfig(kind="endpoint", endpoint=endpoint(server, concurrency=1))
        with pytest.raises(BackendError):
            run(tmp_path, found, load_captioner(section, resources(tmp_path / "cache")))
        captions, folder = run(tmp_path, found, load_captioner(section, resources(tmp_path / "cache")))
    assert len(captions) == folder.summary()["usage"]["requests"] == len(server.seen) - 1 == 4


def test_the_template_captioner_names_the_label(tmp_path: Path) -> None:
    captions, _ = run(tmp_path, clips(tmp_path, 1), TemplateCaptioner())
    assert captions == [Caption(id="c0", text="Sound of a flute")]


def test_an_answer_of_nothing_is_no_caption(tmp_path: Path) -> None:
    with EndpointServer(lambda body, earlier: chat(" \n,")) as server:
        found = EndpointCaptioner(endpoint(server), Reporter(), tmp_path).caption([tone()], [("flute",)])
    assert [result.text for result in found] == [None]
