"""Diffs as people read them: file by file, every line with what it does."""

import re

from arwx.ui import highlight
from tests.make import Caller
from tests.ui.conftest import Visitor

TWO_FILES = """diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,3 +1,3 @@ def main():
 kept <b>
--- a loss of two dashes
+++ a gain of two pluses
 kept
\\ No newline at end of file
diff --git a/new one.py b/new one.py
new file mode 100644
--- /dev/null
+++ b/new one.py
@@ -0,0 +1,2 @@
+one
+\x0ctwo
# arwandb: untracked 'weights.bin': 12 bytes sha256 ab
# arwandb: untracked 'more.bin': 12 bytes sha256 cd
"""


def test_a_diff_is_read_file_by_file() -> None:
    found = highlight.patches(TWO_FILES)
    assert [(one.path, one.added, one.removed) for one in found] == [("a.py", 1, 1), ("new one.py", 2, 0), ("", 0, 0)]
    assert "\n".join(line for one in found for _, line in one.lines) + "\n" == TWO_FILES


def test_within_a_hunk_nothing_is_a_head() -> None:
    (gone, come) = (line for kind, line in highlight.patches(TWO_FILES)[0].lines if kind in {"gd", "gi"})
    assert (gone, come) == ("--- a loss of two dashes", "+++ a gain of two pluses")


def test_what_is_gone_and_what_moved_has_a_name() -> None:
    gone = "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    moved = "diff --git a/x/y b/z\nsimilarity index 100%\nrename from x/y\nrename to z\n"
    plain = "--- old.txt\t2026-01-01\n+++ new.txt\t2026-01-02\n@@ -1 +1 @@\n-x\n+y\n"
    assert [one.path for one in highlight.patches(gone + moved)] == ["x", "z"]
    assert [one.path for one in highlight.patches(plain + plain)] == ["new.txt", "new.txt"]
    assert [(one.path, one.lines) for one in highlight.patches("")] == [("", [("gh", "")])]


def test_several_files_can_be_folded_away(ada_at_home: Visitor, ada: Caller) -> None:
    sha = ada.post("/v1/blobs", data=TWO_FILES.encode()).json["sha"]
    ada.run("char-lm", id="one", diff_sha=sha)
    page = ada_at_home.get("/p/char-lm/runs/one").text
    folds = re.findall(r'<details class="patch-of" open><summary class="mono">(.*?)</summary>', page)
    assert [re.sub(r"<[^>]+>", "", one) for one in folds] == ["a.py +1 −1", "new one.py +2 −0", "not shown +0 −0"]
    assert " kept &lt;b&gt;\n" in page
    assert 'href="#code">code and changes</a>' in page
