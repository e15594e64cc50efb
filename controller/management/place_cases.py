"""Answers to placement cases in a file: many questions in, one document out."""

import json
import sys
from pathlib import Path

from controller.core.placement.answer import answer_to
from controller.core.placement.plain import QuestionError, questions_from
from controller.core.placement.verdict import verdict_plain
from controller.management.answering import AnswerError
from controller.management.inputs import read_file


def answered_cases(name: str) -> dict[str, object]:
    """Return the answer to each case of a file, or of standard input for a dash, by its id.

    Raises :class:`~controller.management.answering.AnswerError` for a file that can't be read.
    """
    raw = sys.stdin.buffer.read() if name == "-" else read_file(Path(name))
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise AnswerError("bad_json", str(fault), name) from fault
    try:
        questions = questions_from(plain)
    except QuestionError as fault:
        raise AnswerError("bad_document", str(fault), fault.where) from fault
    return {case: verdict_plain(answer_to(question)) for case, question in questions.items()}
