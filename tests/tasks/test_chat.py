"""An instruction-tuned model is asked as it is served: in turns, by its tokenizer's template."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest

from calbench import cli, models, tasks
from calbench.errors import InputError
from calbench.inference import encode_choices, score
from calbench.tasks import MultipleChoice, Question
from tests.architectures import zoo
from tests.architectures.examination import source_of

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXTS = zoo.texts(54, shortest=3, longest=20, seed=5)
QUESTIONS = [
    Question(f"q{i:02}", context, tuple(zoo.texts(3, shortest=1, longest=4, seed=100 + i)), i % 3)
    for i, context in enumerate(CONTEXTS)
]
SHOTS, ASKED = QUESTIONS[:4], QUESTIONS[4:]
TASK = MultipleChoice(
    "chatted",
    lambda: ASKED,
    "{question}?",
    rule="sum",
    n_shots=2,
    load_shots=lambda: SHOTS,
    description="Answer.",
    n_quantization=0,
    chat=True,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = zoo.build("llama", "causal", tmp_path_factory.mktemp("llama"), max_position_embeddings=512)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return dataclasses.replace(source_of("llama", "causal", folder), max_length=500)


def harness_scores(source, folder, *, multiturn):
    """What lm-evaluation-harness says about the same questions with ``--apply_chat_template``."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    for name, questions in (("asked", ASKED), ("shots", SHOTS)):
        rows = [{"q": f"{q.text}?", "options": list(q.options), "label": q.label} for q in questions]
        (folder / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    files = {name: str(folder / f"{name}.json") for name in ("asked", "shots")}
    declared = {
        "task": "chatted",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "asked",
        "fewshot_split": "shots",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 2,
        "description": "Answer.",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "options",
        "doc_to_target": "label",
    }
    (folder / "chatted.yaml").write_text(json.dumps(declared))
    model = HFLM(pretrained=source.load(), tokenizer=source.load_tokenizer(), batch_size=1, max_length=500)
    found = lm_eval.simple_evaluate(
        model,
        tasks=["chatted"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        apply_chat_template=True,
        fewshot_as_multiturn=multiturn,
        log_samples=True,
        bootstrap_iters=0,
    )
    rows = sorted(found["samples"]["chatted"], key=lambda row: row["doc_id"])
    return np.array([[float(answer[0]) for answer in row["filtered_resps"]] for row in rows])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("multiturn", [False, True])
def test_scores_are_the_harnesss_with_its_chat_template(source, tmp_path, multiturn):
    request = dataclasses.replace(TASK, multiturn=multiturn).request(source)
    scored = score(source.load(), source.load_tokenizer(), source, request, ASKED)
    assert len(ASKED) == 50
    np.testing.assert_allclose(
        scored.logits, harness_scores(source, tmp_path, multiturn=multiturn), atol=1e-3
    )


def test_the_first_special_token_stands_once_and_the_assistant_answers(source):
    tokenizer, request = source.load_tokenizer(), TASK.request(source)
    (asked, *_), _ = encode_choices(tokenizer, request, ASKED, max_length=500)
    assert asked.context.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(asked.context).endswith("<assistant>")


def test_a_chat_is_part_of_what_is_asked(source):
    plain = dataclasses.replace(TASK, chat=False).request(source).identity()
    turns = [
        dataclasses.replace(TASK, **setting).request(source).identity()
        for setting in ({}, {"chat": "Be brief."}, {"multiturn": True})
    ]
    assert "chat" not in plain
    assert len({json.dumps(identity) for identity in (plain, *turns)}) == 4


def test_a_model_says_how_it_is_asked_where_the_task_does_not(source):
    asks = dataclasses.replace(TASK, chat=None)
    assert asks.request(source).chat is None
    assert asks.request(dataclasses.replace(source, chat="Be brief.")).chat.system == "Be brief."


def test_a_tokenizer_without_a_template_is_refused(tmp_path):
    source = source_of("llama", "causal", zoo.build("llama", "causal", tmp_path))
    with pytest.raises(InputError, match="its tokenizer has no chat template"):
        TASK.request(source).text(ASKED[0])


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("{{ raise_exception('no system') }}", "refuses these turns .*some take no system prompt"),
        ("", "leaves the system prompt out without a word"),
    ],
)
def test_a_template_that_takes_no_system_prompt_is_refused(said, refused, tmp_path):
    folder = zoo.build("llama", "causal", tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        f"{{% for m in messages %}}{{% if m['role'] == 'system' %}}{said}"
        "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    chatted = dataclasses.replace(TASK, description="").request(source_of("llama", "causal", folder))
    assert chatted.text(ASKED[0])
    spoken = dataclasses.replace(TASK, chat="Be brief.", description="")
    with pytest.raises(InputError, match=refused):
        spoken.request(source_of("llama", "causal", folder)).text(ASKED[0])


def test_the_command_line_asks_all_tasks_in_turns(source, tmp_path, monkeypatch, capsys):
    named = dataclasses.replace(source, id="chatted-llama")
    models.model("chatted-llama")(lambda: named)
    tasks.task("chatted-here")(lambda: dataclasses.replace(TASK, id="chatted-here", chat=None))

    def keys(*options):
        given = ["run", "--models", "chatted-llama", "--tasks", "chatted-here", "--quantizers", "fp32"]
        monkeypatch.setattr(
            sys, "argv", ["calbench", *given, "--store", str(tmp_path), "--json", *map(str, options)]
        )
        with pytest.raises(SystemExit):
            cli.main()
        (row,) = json.loads(capsys.readouterr().out)
        return row["task"], row["records"]["candidate"]

    found = [
        keys(),
        keys("--chat", "true"),
        keys("--chat", "Be brief."),
        keys("--chat", "true", "--multiturn"),
    ]
    assert [task for task, _ in found] == [
        "chatted-here",
        "chatted-here[chat=true]",
        "chatted-here[chat=Be brief.]",
        "chatted-here[chat=true,multiturn=true]",
    ]
    assert len({key for _, key in found}) == 4
