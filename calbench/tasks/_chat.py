"""A prompt as an instruction-tuned model is served it: in turns, written by its tokenizer's template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbench.errors import InputError
from calbench.models import ModelSource

# What ``chat`` may be: off, on, or on with this system prompt.
ChatSetting = bool | str


@dataclass(frozen=True)
class Chat:
    """Writes turns as one text, up to where the assistant answers.

    The text begins with whatever the template puts first, so that a tokenizer's ``bos`` is there once.
    This is what lm-evaluation-harness does with ``--apply_chat_template``.

    Parameters
    ----------
    source
        Whose tokenizer has the template.
    system
        The system prompt; empty for none.
    multiturn
        Whether answered examples are turns of their own (``--fewshot_as_multiturn``), or all stand in
        the one turn that asks.
    """

    source: ModelSource = field(repr=False, compare=False)
    system: str = ""
    multiturn: bool = False

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self.source.resolve().load_tokenizer()
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                f"model {self.source.id!r}: its tokenizer has no chat template; leave chat out, or put the"
                " template into its tokenizer_config.json"
            )
        return tokenizer

    def prompt(self, question: str, shots: Sequence[tuple[str, str]] = (), description: str = "") -> str:
        """Return the text before the answer.

        Parameters
        ----------
        question
            What is asked.
        shots
            Answered examples.
        description
            Of the task; stands in the system's turn, behind the system prompt.
        """
        system = "\n\n".join(part for part in (self.system, description) if part)
        turns = [{"role": "system", "content": system}] if system else []
        if self.multiturn:
            for asked, answer in shots:
                turns.append({"role": "user", "content": asked})
                turns.append({"role": "assistant", "content": answer})
            turns.append({"role": "user", "content": question})
        else:
            told = "".join(f"{asked} {answer}\n\n" for asked, answer in shots)
            turns.append({"role": "user", "content": told + question})
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # of a template, which is a program
            raise InputError(
                f"model {self.source.id!r}: its chat template refuses these turns"
                f" ({type(error).__name__}: {error}); some take no system prompt"
            ) from error
        if system.strip() not in text:
            raise InputError(
                f"model {self.source.id!r}: its chat template leaves the system prompt out without a word;"
                " put what it says into the task's prompt"
            )
        return text

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a prediction."""
        template = json.dumps(self._tokenizer.chat_template, sort_keys=True)
        return {
            "system": self.system,
            "multiturn": self.multiturn,
            "template": hashlib.sha256(template.encode()).hexdigest(),
        }


def chat_of(source: ModelSource, setting: ChatSetting | None, *, multiturn: bool = False) -> Chat | None:
    """Return how a model is talked to: as the task says, else as the model says, else not at all."""
    chosen = source.chat if setting is None else setting
    if chosen is False:
        return None
    return Chat(source, chosen if isinstance(chosen, str) else "", multiturn)
