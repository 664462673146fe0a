"""Language-guided audio imagination (arXiv 2410.02056): extract, mix, reflect.

The model is asked in waves: the first caption of every clip, then the second, and so on, so that each request can
name the captions that its clip already has. An item is finished when its record is on disk; a killed stage goes on
with the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from string import Template

import numpy as np

from synthio.backends.llm import LanguageModel, Request
from synthio.backends.questions import (
    AnswerSchema,
    Outcome,
    Question,
    RequestOptions,
    ask,
    lines,
    make_request,
    parse,
    quote,
    quote_all,
)
from synthio.calls import counter, spent
from synthio.chunks import chunks
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError
from synthio.pools import Pool, merged, pools_by_label
from synthio.progress import Reporter
from synthio.records import Caption, Clip, Components, Prompt, Record, have_several_labels, of_split
from synthio.seeds import derive_seed, numpy_generator
from synthio.wording import article, check_caption, clean, joined, key, label_template, phrases, readable

#: Tokens of an extraction's answer: two short lists.
_EXTRACT_TOKENS = 64
#: Tokens per word of a caption, with the brackets around it.
_TOKENS_PER_WORD = 1.4
#: Chat models see at most this many events and scenes each; base models, whose prompts must stay short, these few.
_SHOWN, _FEW_EVENTS, _FEW_SCENES = 40, 3, 2
#: Multi-label sets (arXiv 2410.02056): labels drawn, and how many of them a caption uses.
_LABELS_DRAWN, _LABELS_USED = 5, (2, 3, 4)


class ExtractAnswer(AnswerSchema):
    """Prompt 1's answer."""

    events: list[str]
    scenes: list[str]


class MixAnswer(AnswerSchema):
    """Prompt 2's answer."""

    caption: str


class ReflectAnswer(AnswerSchema):
    """Prompt 3's answer; null gives up."""

    caption: str | None


class GivenUp(Record):
    """A rejected prompt for which the model saw no better caption. ``id`` is the one its rewrite would have had."""

    parent_id: str
    reason: str


@dataclass(frozen=True)
class _Slot:
    """One caption to be written for one clip."""

    id: str
    clip: Clip
    labels: tuple[str, ...]
    duration_s: float

    def prompt(self, outcome: Outcome[str]) -> Prompt:
        """The caption, or the template that tops up for it."""
        text = outcome.answer or label_template(self.labels)
        return Prompt(
            id=self.id,
            clip_id=self.clip.id,
            labels=self.labels,
            text=text,
            duration_s=self.duration_s,
            source="llm" if outcome.failed is None else "top-up",
            failed=outcome.failed,
        )


# Prompt 1 -------------------------------------------------------------------------------------------------------------


def extract_components(
    context: StageContext, clips: Sequence[Clip], captions: Sequence[Caption], llm: LanguageModel
) -> list[Components]:
    """Events and scenes of every training clip's caption (arXiv 2410.02056), in clip order.

    A caption that only names the label has none, and is not asked about. After ``imagine.max_tries`` refused answers
    the lists are empty and the reason is recorded.
    Raises: what the language model raises.
    """
    config, folder = context.config, context.folder
    train = {clip.id: clip for clip in of_split(clips, "train")}
    texts = {caption.id: caption.text for caption in captions}

    def extract(part: Sequence[Clip]) -> list[Components]:
        asked = [clip for clip in part if key(texts[clip.id]) != key(label_template(clip.labels))]
        questions = [_extract_question(config, clip, texts[clip.id]) for clip in asked]
        outcomes = ask(questions, llm, config.imagine.max_tries, counter(folder))
        answers = {clip.id: outcome for clip, outcome in zip(asked, outcomes, strict=True)}
        return [_components(clip, answers.get(clip.id)) for clip in part]

    components = context.make_missing("extract", train, folder.items(Components), llm.requests_per_call, extract)
    failed = sum(record.failed is not None for record in components)
    folder.finish(components, {"clips": len(components), "failed": failed, **spent(folder)})
    if failed:
        found = f"{failed} of {len(components)} captions gave no events and scenes"
        context.reporter.warn(f"extract: {found}; see the manifest")
    return components


def _extract_question(config: RunConfig, clip: Clip, caption: str) -> Question[Pool]:
    values = {"label": quote(joined(clip.labels)), "caption": quote(clean(caption))}

    def request(attempt: int, refusal: str | None) -> Request:
        seed = derive_seed(config.seed, "extract", clip.id, attempt)
        # Reading wants the likeliest answer; the paper's temperature is for writing. A second try must differ, though.
        temperature = 0.0 if attempt == 1 else config.imagine.temperature
        options = RequestOptions(temperature, _EXTRACT_TOKENS, seed)
        return make_request("extract", ExtractAnswer, values, refusal, options)

    def accept(text: str) -> Pool:
        answer = parse(text, ExtractAnswer)
        scenes = phrases(answer.scenes, clip.labels)
        backgrounds = set(map(key, scenes))
        events = phrases(answer.events, clip.labels)
        return Pool(tuple(event for event in events if key(event) not in backgrounds), scenes)

    return Question(request, accept)


def _components(clip: Clip, outcome: Outcome[Pool] | None) -> Components:
    if outcome is None:
        return Components(id=clip.id, tries=0)
    found = outcome.answer or Pool()
    return Components(id=clip.id, events=found.events, scenes=found.scenes, tries=outcome.tries, failed=outcome.failed)


# Prompt 2 -------------------------------------------------------------------------------------------------------------


def imagine_prompts(
    context: StageContext, clips: Sequence[Clip], components: Sequence[Components], llm: LanguageModel
) -> list[Prompt]:
    """``imagine.captions_per_clip`` captions per training clip of ``imagine.classes``, in clip order (arXiv
    2410.02056).

    ``mixcap`` shows the model a sample of the label's pooled events and scenes; ``llm`` shows none; ``template`` asks
    no model. A caption that fails ``imagine.max_tries`` times becomes a template top-up with its reason, so the count
    per class always holds.
    Raises: what the language model raises; `BackendError` when an endpoint wrote none that can be used.
    """
    wanted = _slots(context.config, clips)
    finished = _fill(context, wanted, clips, components, llm)
    # Waves run across clips; the manifest goes clip by clip.
    prompts = [finished[slot.id] for slots in zip(*wanted, strict=True) for slot in slots]
    context.folder.finish(prompts, {**_counts(prompts), **spent(context.folder)})
    _warn_of_top_ups(prompts, "imagine", context.reporter)
    return prompts


def imagine_first(
    context: StageContext,
    clips: Sequence[Clip],
    components: Sequence[Components],
    llm: LanguageModel,
    chosen: Collection[str],
) -> None:
    """Make the first captions of `imagine_prompts` for the ``chosen`` training clips (ids). The stage is not finished,
    and makes only the others later.

    Raises: as `imagine_prompts`.
    """
    first = [slot for slot in _slots(context.config, clips)[0] if slot.clip.id in chosen]
    _fill(context, [first], clips, components, llm)


def _slots(config: RunConfig, clips: Sequence[Clip]) -> list[list[_Slot]]:
    """By wave: one caption for each training clip that gets some."""
    train = of_split(clips, "train")
    drawable = _drawable(config, train)
    asked = [clip for clip in train if config.imagine.asks_for(clip.labels)]
    return [
        [_slot(config, clip, index, drawable) for clip in asked] for index in range(config.imagine.captions_per_clip)
    ]


def _fill(
    context: StageContext,
    waves: Sequence[Sequence[_Slot]],
    clips: Sequence[Clip],
    components: Sequence[Components],
    llm: LanguageModel,
) -> dict[str, Prompt]:
    """Captions by id, also those of before."""
    used = of_split(clips, "train") if context.config.imagine.mode == "mixcap" else []
    pools = pools_by_label([(clip.id, clip.labels) for clip in used], components)
    finished = context.folder.items(Prompt)
    if _wrote_none(context.config, finished):
        # The run that made them ended with an error, and its server may be another by now.
        finished = {}
    done = sum(slot.id in finished for wave in waves for slot in wave)
    with context.reporter.task("imagine", sum(map(len, waves)), done) as advance:
        for wave in waves:
            todo = [slot for slot in wave if slot.id not in finished]
            for part in chunks(todo, llm.requests_per_call):
                made = _imagine(context, part, pools, _written(finished, part), llm)
                context.folder.append(made)
                finished.update((prompt.id, prompt) for prompt in made)
                advance(len(part))
            if _wrote_none(context.config, finished):
                raise BackendError(
                    f"{context.config.imagine.endpoint.base_url} wrote none of {len(finished)} captions that can be "
                    f"used; the first because: {next(iter(finished.values())).failed}. Where its model thinks first, "
                    "raise endpoint.max_tokens or have it think less (endpoint.extra_body); else take another "
                    "endpoint.model, or set imagine.mode to template"
                )
    return finished


def _wrote_none(config: RunConfig, prompts: Mapping[str, Prompt]) -> bool:
    """Whether an endpoint has nothing to show for what it was asked: every caption is a top-up."""
    is_asked = config.imagine.kind == "endpoint" and config.imagine.mode != "template"
    return is_asked and bool(prompts) and all(prompt.source == "top-up" for prompt in prompts.values())


def _drawable(config: RunConfig, train: Sequence[Clip]) -> list[tuple[str, ...]]:
    """The training clips' label sets to draw from where some have several; none for single-label sets."""
    if config.imagine.mode == "template" or not have_several_labels(train):
        return []
    return sorted(clip.labels for clip in train)


def _slot(config: RunConfig, clip: Clip, index: int, drawable: Sequence[tuple[str, ...]]) -> _Slot:
    identity = f"{clip.id}-{index}"
    labels = clip.labels
    if drawable:
        draw = _draw_observed if config.imagine.labels == "observed" else _draw_labels
        own = [label for label in sorted(labels) if config.imagine.asks_for([label])]
        labels = draw(own, drawable, numpy_generator(config.seed, "labels", identity))
    return _Slot(identity, clip, labels, clip.duration_s)


def _draw_observed(
    labels: Sequence[str], drawable: Sequence[tuple[str, ...]], generator: np.random.Generator
) -> tuple[str, ...]:
    """A label set that a training clip has, as often as they have it, with one of ``labels``, the clip's own: what
    excludes each other, or implies each other, does so in synthetic clips too."""
    own = str(generator.choice(labels))
    together = [labels for labels in drawable if own in labels]
    drawn = together[int(generator.integers(len(together)))]
    return (own, *(label for label in drawn if label != own))


def _draw_labels(
    labels: Sequence[str], drawable: Sequence[tuple[str, ...]], generator: np.random.Generator
) -> tuple[str, ...]:
    """Five labels, of which a caption uses two to four (arXiv 2410.02056); one is of ``labels``, the clip's own, so
    that its class keeps its count."""
    own = str(generator.choice(labels))
    others = [label for label in sorted({label for labels in drawable for label in labels}) if label != own]
    drawn = [others[i] for i in generator.permutation(len(others))[: _LABELS_DRAWN - 1]]
    used = int(generator.choice(_LABELS_USED))
    return (own, *drawn[: used - 1])


def _written(finished: Mapping[str, Prompt], slots: Sequence[_Slot]) -> dict[str, list[str]]:
    wanted = {slot.clip.id for slot in slots}
    written: dict[str, list[str]] = defaultdict(list)
    for prompt in finished.values():
        if prompt.clip_id in wanted:
            written[prompt.clip_id].append(prompt.text)
    return {clip_id: sorted(texts) for clip_id, texts in written.items()}


def _imagine(
    context: StageContext,
    slots: Sequence[_Slot],
    pools: Mapping[str, Pool],
    written: Mapping[str, Sequence[str]],
    llm: LanguageModel,
) -> list[Prompt]:
    config = context.config
    if config.imagine.mode == "template":
        templates = [slot.prompt(Outcome(label_template(slot.labels), 0, None)) for slot in slots]
        return [prompt.model_copy(update={"source": "template"}) for prompt in templates]
    questions = [_mix_question(config, slot, pools, written.get(slot.clip.id, ())) for slot in slots]
    outcomes = ask(questions, llm, config.imagine.max_tries, counter(context.folder))
    return [slot.prompt(outcome) for slot, outcome in zip(slots, outcomes, strict=True)]


def _mix_question(config: RunConfig, slot: _Slot, pools: Mapping[str, Pool], written: Sequence[str]) -> Question[str]:
    generator = numpy_generator(config.seed, "pool", slot.id)
    pool = merged([pools.get(label, Pool()) for label in slot.labels]).sample(config.imagine.pool_share, generator)
    values = {**_shown(pool), "written": quote_all(written)}

    def accept(text: str) -> str:
        return check_caption(parse(text, MixAnswer).caption, slot.labels, config.imagine.max_words, written)

    return Question(_caption_request(config, "mix", MixAnswer, slot.id, slot.labels, values), accept)


# Prompt 3 -------------------------------------------------------------------------------------------------------------


def reflect_prompts(
    context: StageContext,
    round_number: int,
    rejected: Sequence[Prompt],
    accepted: Sequence[Prompt],
    components: Sequence[Components],
    llm: LanguageModel,
) -> list[Prompt]:
    """Rewritten captions for rejected prompts (arXiv 2410.02056), in order, ids ``{root id}-r{round}``.

    The events and scenes that the model is shown are those of the clips behind accepted captions.
    The model may give up on a caption: then no prompt is returned for it, and the summary counts it. An answer that
    fails ``imagine.max_tries`` times becomes a template top-up. ``template`` returns the same text: a new id is a new
    seed for the generator. Base models are not shown the rejected caption, which they would copy, and never give up.
    Raises: what the language model raises.
    """
    # A caption's first label is its clip's own; what was drawn beside it (arXiv 2410.02056) the clip does not sound.
    pools = pools_by_label([(prompt.clip_id, prompt.labels[:1]) for prompt in accepted], components)
    folder, task = context.folder, f"reflect, round {round_number}"
    finished: dict[str, Prompt | GivenUp] = {**folder.items(Prompt), **folder.items(GivenUp)}
    ids = [f"{prompt.id.removesuffix(f'-r{prompt.round}')}-r{round_number}" for prompt in rejected]
    todo = {new: (new, old) for new, old in zip(ids, rejected, strict=True)}

    def rewrite(part: Sequence[tuple[str, Prompt]]) -> list[Prompt | GivenUp]:
        return _reflect(context, round_number, part, pools, llm)

    records = context.make_missing(task, todo, finished, llm.requests_per_call, rewrite)
    prompts = [record for record in records if isinstance(record, Prompt)]
    given_up = {record.parent_id: record.reason for record in records if isinstance(record, GivenUp)}
    summary = {**_counts(prompts), "given_up": len(given_up), "given_up_prompts": given_up, **spent(folder)}
    folder.finish(prompts, summary)
    _warn_of_top_ups(prompts, "reflect", context.reporter)
    return prompts


def _reflect(
    context: StageContext,
    round_number: int,
    part: Sequence[tuple[str, Prompt]],
    pools: Mapping[str, Pool],
    llm: LanguageModel,
) -> list[Prompt | GivenUp]:
    config = context.config
    if config.imagine.mode == "template":
        same = {"round": round_number, "source": "template", "failed": None}
        return [old.model_copy(update={**same, "id": new, "parent_id": old.id}) for new, old in part]
    questions = [_reflect_question(config, new, old, pools) for new, old in part]
    outcomes = ask(questions, llm, config.imagine.max_tries, counter(context.folder))
    made: list[Prompt | GivenUp] = []
    for (new, old), outcome in zip(part, outcomes, strict=True):
        if outcome.failed is None and outcome.answer is None:
            made.append(GivenUp(id=new, parent_id=old.id, reason="the language model saw no better caption"))
            continue
        changed = {
            "id": new,
            "parent_id": old.id,
            "round": round_number,
            "text": outcome.answer or label_template(old.labels),
            "source": "llm" if outcome.failed is None else "top-up",
            "failed": outcome.failed,
        }
        made.append(old.model_copy(update=changed))
    return made


def _reflect_question(config: RunConfig, new_id: str, old: Prompt, pools: Mapping[str, Pool]) -> Question[str | None]:
    generator = numpy_generator(config.seed, "pool", new_id)
    pool = merged([pools.get(label, Pool()) for label in old.labels]).sample(1.0, generator)
    values = {**_shown(pool), "caption": quote(old.text)}

    def accept(text: str) -> str | None:
        caption = parse(text, ReflectAnswer).caption
        # The paper's prompts ask for "None", and models write it as a word too.
        if caption is None or key(caption) in {"none", "null"}:
            return None
        return check_caption(caption, old.labels, config.imagine.max_words, [old.text])

    return Question(_caption_request(config, "reflect", ReflectAnswer, new_id, old.labels, values), accept)


# What the three share -------------------------------------------------------------------------------------------------


def _caption_request(
    config: RunConfig,
    name: str,
    kind: type[AnswerSchema],
    identity: str,
    labels: tuple[str, ...],
    values: Mapping[str, str],
) -> Callable[[int, str | None], Request]:
    """What makes the request of an attempt, after the refusal of the one before."""
    label = joined(labels)
    # One label opens as the file says; for several, "a loud dog and rain" would be wrong.
    openings = lines("openings") if len(labels) == 1 else ("Sound of $a $label",)
    tokens = int(_TOKENS_PER_WORD * config.imagine.max_words)

    def request(attempt: int, refusal: str | None) -> Request:
        seed = derive_seed(config.seed, name, identity, attempt)
        drawn = openings[int(numpy_generator(seed, "opening").integers(len(openings)))]
        opening = Template(drawn).substitute(label=label, a=article(label))
        filled = {
            **values,
            "domain": quote(config.data.domain),
            "label": quote(label),
            "labels": quote_all([readable(each) for each in labels]),
            "max_words": str(config.imagine.max_words),
            "opening": quote(opening)[1:-1],
        }
        return make_request(name, kind, filled, refusal, RequestOptions(config.imagine.temperature, tokens, seed))

    return request


def _shown(pool: Pool) -> dict[str, str]:
    return {
        "events": quote_all(pool.events[:_SHOWN]),
        "scenes": quote_all(pool.scenes[:_SHOWN]),
        "few_events": quote_all(pool.events[:_FEW_EVENTS]),
        "few_scenes": quote_all(pool.scenes[:_FEW_SCENES]),
    }


def _counts(prompts: Sequence[Prompt]) -> dict[str, object]:
    return {
        "captions": len(prompts),
        "topped_up": sum(prompt.source == "top-up" for prompt in prompts),
        "distinct": len({key(prompt.text) for prompt in prompts}),
    }


def _warn_of_top_ups(prompts: Sequence[Prompt], stage: str, reporter: Reporter) -> None:
    topped_up = [prompt for prompt in prompts if prompt.source == "top-up"]
    if topped_up:
        reporter.warn(
            f"{stage}: {len(topped_up)} of {len(prompts)} captions are template top-ups; "
            f"the first because: {topped_up[0].failed}"
        )
