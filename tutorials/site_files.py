"""What the site shows from elsewhere in the repository. Links are to files, as GitHub follows them."""

import re
from pathlib import Path

from griffe import Extension
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": ".github/CHANGELOG.md"}


def on_files(files, config):
    """Add pages and pictures to those of the site."""
    elsewhere = PAGES | {f"images/{path.name}": f"images/{path.name}" for path in ROOT.glob("images/*")}
    for name, source in elsewhere.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links to the repository's other files lead to GitHub."""
    folder = ROOT / PAGES.get(page.file.src_uri, f"tutorials/docs/{page.file.src_uri}")

    def on_the_site(link):
        path = (folder.parent / link[1]).resolve()
        if "://" in link[1] or not path.is_relative_to(ROOT) or path.is_relative_to(ROOT / "tutorials/docs"):
            return link[0]
        place = path.relative_to(ROOT).as_posix()
        if place.startswith("images/"):
            return f"]({place})"
        return f"]({config.repo_url}/{'tree' if path.is_dir() else 'blob'}/main/{place})"

    return re.sub(r"\]\(([^)#]+)\)", on_the_site, markdown)


class Examples(Extension):
    """Griffe knows sections by their plural."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
