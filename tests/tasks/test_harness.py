"""Tasks of lm-evaluation-harness give what the harness itself gives."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from calbench import tasks
from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource

pytest.importorskip("torch", reason="models need torch")
lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed; pip install 'calbench[lm-eval]'")

N = 50
# float32 sums in another order
TOLERANCE = 1e-3
CHAT = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} w0 {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
COMMON = "dataset_path: json\ntest_split: test\ntraining_split: train\ndataset_kwargs:\n  data_files: FILES\n"
LISTED = "output_type: multiple_choice\nmetric_list:\n" + "".join(
    f"  - metric: {name}\n    aggregation: mean\n    higher_is_better: true\n" for name in ("acc", "acc_norm")
)
FORMS = {
    # options of each document, a number as the answer
    "own-options": LISTED + 'doc_to_text: "Text: {{q}}"\ndoc_to_choice: o\ndoc_to_target: label\n',
    # the same words for every document, the text of one as the answer; a passage and a description
    "words": LISTED
    + 'description: "w9 w8 w7"\ndoc_to_text: "{{q}} Sentiment:"\ndoc_to_choice: ["no", "yes"]\n'
    "doc_to_target: \"{{['no', 'yes'][label % 2]}}\"\n",
    # options shown in the context, answered by letter, examples from the training split
    "letters": LISTED + 'doc_to_text: "{{q}} {% for c in o %}{{ loop.index }} {{c}} {% endfor %}w1"\n'
    "doc_to_choice: [w2, w3, w4]\ndoc_to_target: label\nfewshot_split: train\nnum_fewshot: 3\n",
    # winogrande's: options in the context, one continuation
    "contexts": LISTED + 'doc_to_text: "{{label}}"\ndoc_to_target: "w5 {{q}}"\n'
    "doc_to_choice: \"{{['w1 ' + o[0] + ' w2', 'w1 ' + o[1] + ' w2', 'w3 ' + o[2]]}}\"\n",
    # each option asked twice: after the question and after nothing
    "mutual": LISTED + "  - metric: acc_mutual_info\n    aggregation: mean\n    higher_is_better: true\n"
    'doc_to_text: "Text: {{q}}"\ndoc_to_choice: o\ndoc_to_target: label\n',
    # an answer in words, found by a filter
    "open": "output_type: generate_until\n"
    "generation_kwargs:\n  until: [w0]\n  max_gen_toks: 6\n  do_sample: false\n"
    'doc_to_text: "Text: {{q}}"\ndoc_to_target: "w{{label}}"\nfilter_list:\n  - name: word\n    filter:\n'
    '      - function: regex\n        regex_pattern: "(w[0-9]*)"\n      - function: take_first\n'
    "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n",
}


def documents(n, first=0):
    return [
        {
            "q": f"w{i % 60} w{(7 * i) % 60}",
            "o": [f"w{(i + k) % 60} w{(3 * i + k) % 60}"[: 3 + 4 * (k > 0)].strip() for k in range(3)],
            "label": i % 3,
        }
        for i in range(first, first + n)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of task files over local data."""
    folder = tmp_path_factory.mktemp("harness")
    for split, rows in (("test", documents(N)), ("train", documents(20, first=N))):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = f"{{test: {folder}/test.jsonl, train: {folder}/train.jsonl}}"
    for name, said in FORMS.items():
        text = f"task: form_{name}\ntag: all_forms\nmetadata:\n  version: 2.0\n{COMMON}{said}"
        (folder / f"{name}.yaml").write_text(text.replace("FILES", files))
    (folder / "group.yaml").write_text("group: two_forms\ntask:\n  - form_words\n  - form_contexts\n")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CALBENCH_LM_EVAL_INCLUDE", str(folder))
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A tiny Llama with a chat template and a token that begins texts, loaded."""
    from tests.tiny_models import write_decoder

    path = write_decoder(
        tmp_path_factory.mktemp("models") / "decoder", more_words=("user", "assistant", "system")
    )
    config = json.loads((path / "tokenizer_config.json").read_text())
    config |= {"chat_template": CHAT, "eos_token": "[PAD]"}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    source = ModelSource("tiny", "causal-lm", str(path), max_length=128).resolve()
    module, tokenizer = source.load(), source.load_tokenizer()
    module.generation_config.eos_token_id = tokenizer.eos_token_id
    return source, module, tokenizer


@pytest.mark.filterwarnings("ignore")
def own_run(name, folder, decoder, *, chat=False, n_shots=None):
    """The harness's own run: samples in the documents' order, and its metrics."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    source, module, tokenizer = decoder
    lm = HFLM(
        pretrained=module, tokenizer=tokenizer, batch_size=8, max_length=source.max_length, device="cpu"
    )
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = lm_eval.simple_evaluate(
        lm,
        tasks=[f"form_{name}"],
        task_manager=manager,
        num_fewshot=n_shots,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        bootstrap_iters=0,
        verbosity="ERROR",
    )
    samples = sorted(found["samples"][f"form_{name}"], key=lambda sample: sample["doc_id"])
    metrics = {key.partition(",")[0]: value for key, value in found["results"][f"form_{name}"].items()}
    return samples, metrics


def asked(name, decoder):
    """What calbench gets for a task and the harness's metrics of it, all documents asked."""
    from calbench.inference import generate, score

    source, module, tokenizer = decoder
    task = tasks.get(name)
    items = task.partition.evaluation
    items = tuple(sorted(items, key=lambda item: item.id))
    assert len(items) == N
    request = task.request(source)
    if isinstance(task, tasks.Generation):
        made = generate(module, tokenizer, source, request, items)
        return made, task.metrics(items, made.answers)
    scored = score(module, tokenizer, source, request, items)
    return scored.logits, task.metrics(items, scored.logits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ("own-options", {}),
        ("words", {}),
        ("letters", {}),
        ("letters", {"n_shots": 1}),
        ("letters", {"chat": True}),
        ("words", {"chat": True}),
        ("contexts", {}),
        ("contexts", {"chat": True}),
        ("mutual", {}),
    ],
    ids=str,
)
def test_log_likelihoods_and_metrics_equal_the_harness(form, arguments, folder, decoder):
    said = "".join(f",{key}={str(value).lower()}" for key, value in arguments.items())
    values, metrics = asked(f"lm-eval:form_{form}[n_quantization=0{said}]", decoder)
    samples, theirs = own_run(form, folder, decoder, **arguments)
    lls = [[float(resp[0][0]) for resp in sample["resps"]] for sample in samples]
    np.testing.assert_allclose(values, np.array(lls), atol=TOLERANCE)
    assert metrics == {name: theirs[name] for name in metrics}
    assert set(metrics) >= {"acc", "acc_norm"}
    assert ("acc_mutual_info" in metrics) == (form == "mutual")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("arguments", [{}, {"n_shots": 2}, {"chat": True}], ids=str)
def test_answers_in_words_and_their_metrics_equal_the_harness(arguments, folder, decoder):
    said = "".join(f",{key}={str(value).lower()}" for key, value in arguments.items())
    made, metrics = asked(f"lm-eval:form_open[n_quantization=0{said}]", decoder)
    samples, theirs = own_run("open", folder, decoder, **arguments)
    assert list(made.answers) == [sample["resps"][0][0] for sample in samples]
    assert metrics == {"exact_match": theirs["exact_match"]}
    assert made.predictions.correct.mean() == pytest.approx(theirs["exact_match"])


def test_a_group_and_a_tag_are_their_members():
    members = [tasks.get(name).harness.name for name in tasks.named("lm-eval:two_forms")]
    assert members == ["form_words", "form_contexts"]
    assert len(tasks.named("lm-eval:all_forms")) == len(FORMS)
    with pytest.raises(InputError, match="lm-eval:two_forms is 2 tasks; name one of lm-eval-form_words"):
        tasks.get("lm-eval:two_forms")


def test_a_task_knows_the_group_that_it_was_named_through():
    assert {tasks.group_of(name) for name in tasks.named("lm-eval:two_forms")} == {"lm-eval:two_forms"}
    assert tasks.group_of("nyt") == ""


@pytest.mark.parametrize("form", ["own-options", "open"])
def test_a_field_of_the_documents_names_their_clusters(form):
    found = tasks.get(f"lm-eval:form_{form}[cluster=label,n_quantization=0]")
    assert {item.cluster for item in found.dataset.items} == {"0", "1", "2"}
    with pytest.raises(InputError, match=r"document 000000: column 'lable' is missing; did you mean 'label'"):
        _ = tasks.get(f"lm-eval:form_{form}[cluster=lable]").dataset


@pytest.mark.parametrize("command", ["run", "recommend", "sensitivity"])
def test_every_command_that_names_tasks_takes_the_folder(command):
    from typer.testing import CliRunner

    from calbench.cli import app

    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert "--lm-eval-include" in shown
    assert "--trust-lm-eval-code" in shown


def test_a_selection_takes_all_members_of_a_group():
    from calbench.runs import PROFILES, Selection, grid_of

    grid = grid_of(models="smollm2", quantizers="fp32", calibrators="identity")
    picked = grid.cells(Selection(tasks=("lm-eval:two_forms",)), PROFILES["quick"])
    assert {cell.task for cell in picked} == set(tasks.named("lm-eval:two_forms"))


def test_version_and_configuration_are_part_of_the_identity(decoder, folder, monkeypatch, tmp_path):
    source = decoder[0]
    first = tasks.get("lm-eval:form_words").request(source).identity()
    assert (first["task"], first["version"]) == ("form_words", "2.0")
    chat = tasks.get("lm-eval:form_words[chat=true]").request(source).identity()
    assert chat["requests"] != first["requests"]
    text = (folder / "words.yaml").read_text()
    (tmp_path / "words.yaml").write_text(text.replace("form_words", "form_said").replace("mean", "median"))
    monkeypatch.setenv("CALBENCH_LM_EVAL_INCLUDE", str(tmp_path))
    said = tasks.get("lm-eval:form_said").request(source).identity()
    assert said["requests"] == first["requests"]
    assert said["configuration"] != first["configuration"]


def test_an_encoder_is_told_that_it_cannot_answer():
    source = ModelSource("e", "sequence-classification", "nowhere", classes=("a", "b"))
    with pytest.raises(UnanswerableError, match="one of lm-eval, which 'e'"):
        tasks.get("lm-eval:form_words").request(source)


BAD = {
    "doc_to_text: !function evil.run": (r"x.yaml: doc_to_text: '!function evil.run' names a function", {}),
    "include: ../other.yaml": (r"x.yaml: include: '../other.yaml' lies outside of", {}),
    "include: none.yaml": (r"x.yaml: include: there is no file 'none.yaml'", {}),
    "include: inner.yaml": (
        r"inner.yaml: process_docs: '!function evil.run' names a function",
        {"inner.yaml": "process_docs: !function evil.run\n"},
    ),
    "metric_list:\n  - metric: bleu\n    hf_evaluate: true": (
        r"metric_list\[0\].hf_evaluate: it is True",
        {},
    ),
    "unsafe_code: true": (r"x.yaml: unsafe_code: it is True", {}),
    "dataset_kwargs:\n  trust_remote_code: true": (r"dataset_kwargs.trust_remote_code: it is True", {}),
    "class: !function evil.Task": (r"class: '!function evil.Task' is run", {}),
    "dataset_path: pandas": (r"dataset_path: 'pandas' is no kind of table", {}),
    "doc_to_text: !!python/object/apply:os.system [id]": (
        r"x.yaml cannot be read: could not determine a constructor",
        {},
    ),
    "output_type: loglikelihood": (
        r"has the output_type 'loglikelihood'; there are answers to calibrate in",
        {},
    ),
    "doc_to_target: '{{[0, 1]}}'": (
        r"x.yaml\): document 000000 has 2 right answers \[0, 1\]; one is wanted: let doc_to_target give",
        {},
    ),
    "doc_to_text: '{{q.__class__.__mro__}}'": (
        r"access to attribute '__class__' of 'str' object is unsafe",
        {},
    ),
    "doc_to_text: '{{nothing}}'": (r"lm-eval:bad_task_.*x.yaml\) cannot be read: 'nothing' is undefined", {}),
    "test_split: none": (r"x.yaml\) cannot be read: there is no 'none'; mend the name", {}),
    "doc_to_choice: oo": (r"x.yaml\): doc_to_choice is neither a column of its documents nor a list", {}),
    "doc_to_choice: [": (r"x.yaml cannot be read: while parsing .*; mend it", {}),
    "doc_to_target: 7": (r"x.yaml\): doc_to_target gives a number that no option has; mend it", {}),
    "doc_to_target: '{{7 if label == 2 else label}}'": (
        r"document 000002: 7 is none of its 3 options; let doc_to_target give the number of one",
        {},
    ),
}


@pytest.mark.parametrize("line", BAD)
def test_a_task_that_is_code_or_cannot_be_asked_is_refused(line, folder, monkeypatch, tmp_path):
    message, more = BAD[line]
    name = f"bad_task_{list(BAD).index(line)}"
    text = (folder / "own-options.yaml").read_text().replace("form_own-options", name)
    blocks = re.findall(r"^\S.*\n(?:^ .*\n)*", text, re.MULTILINE)
    kept = [block for block in blocks if block.partition(":")[0] != line.partition(":")[0]]
    (tmp_path / "x.yaml").write_text("".join(kept) + f"{line}\n")
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    for other, content in more.items():
        (tmp_path / other).write_text(content)
    monkeypatch.setenv("CALBENCH_LM_EVAL_INCLUDE", str(tmp_path))
    with pytest.raises(InputError, match=message):
        _ = tasks.get(f"lm-eval:{name}").dataset


def test_code_that_is_trusted_runs(folder, monkeypatch, tmp_path):
    text = (folder / "own-options.yaml").read_text().replace("form_own-options", "trusted_task")
    (tmp_path / "x.yaml").write_text(text.replace('"Text: {{q}}"', "!function own.text"))
    (tmp_path / "own.py").write_text("def text(doc):\n    return 'Mine: ' + doc['q']\n")
    monkeypatch.setenv("CALBENCH_LM_EVAL_INCLUDE", str(tmp_path))
    monkeypatch.setenv("CALBENCH_TRUST_LM_EVAL_CODE", "1")
    assert tasks.get("lm-eval:trusted_task").dataset.items[0].text.startswith("Mine: ")


def test_arguments_that_a_harness_task_does_not_take_are_named():
    with pytest.raises(InputError, match="no argument of a harness task is called 'shots'"):
        tasks.get("lm-eval:form_words[shots=2]")
    with pytest.raises(InputError, match="n_shots is 'two'"):
        tasks.get("lm-eval:form_words[n_shots=two]")
    with pytest.raises(InputError, match="use 'sum' or 'mean-per-byte'"):
        tasks.get("lm-eval:form_words[rule=letter]")


SAME = {
    "boolq": "{{passage}}\\nQuestion: {{question}}?\\nAnswer:",
    "openbookqa": "{{question}}",
}


@pytest.mark.embedded
@pytest.mark.parametrize("n_items", [8, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SAME)
def test_an_embedded_task_gives_the_same_numbers_through_both_doors(name, n_items, monkeypatch, tmp_path):
    from calbench import models, packages
    from calbench.inference import score

    monkeypatch.undo()  # the cache of whoever runs this
    source = models.get("smollm2")
    if not (packages.QUESTIONS.folder.is_dir() and source.location and source.folder.is_dir()):
        pytest.skip("the embedded models and questions are not in the cache; run 'calbench setup'")
    source, module, tokenizer = source.resolve(), source.load(), source.load_tokenizer()
    ours = tasks.get(f"{name}[rule=sum]")
    items = sorted(ours.partition.evaluation[:n_items], key=lambda item: item.id)
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.jsonl").write_text(
        "".join(
            json.dumps({"passage": i.passage, "question": i.text, "o": list(i.options), "label": i.label})
            + "\n"
            for i in items
        )
    )
    (tmp_path / "x.yaml").write_text(
        f"task: both_{name}\noutput_type: multiple_choice\ndataset_path: json\ntest_split: test\n"
        f"dataset_kwargs:\n  data_files: {{test: {tmp_path}/x.jsonl}}\n"
        f'doc_to_text: "{SAME[name]}"\ndoc_to_choice: o\ndoc_to_target: label\n'
    )
    monkeypatch.setenv("CALBENCH_LM_EVAL_INCLUDE", str(tmp_path))
    theirs = tasks.get(f"lm-eval:both_{name}[n_quantization=0]")
    documents = sorted(theirs.partition.evaluation, key=lambda item: item.id)
    expected = score(module, tokenizer, source, ours.request(source), items).logits
    found = theirs.logits(
        documents, score(module, tokenizer, source, theirs.request(source), documents).logits
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [item.label for item in documents] == [item.label for item in items]
