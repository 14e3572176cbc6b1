"""Known vulnerabilities among the pinned packages: `python .ci/audit.py constraints.txt`.

pip-audit queries PyPI. If the service cannot be reached, it reports every package as "skipped" and
exits with 0, as if nothing had been found. This script counts the packages that were not audited.
Exit status: 0, with a warning if some were not audited; 1 if a vulnerability is known.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# Known vulnerabilities that do not affect us, each with its reason: {"PYSEC-...": "why"}.
ACCEPTED: dict[str, str] = {}


def judge(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit status and the lines of the report for pip-audit's list of packages."""
    lines, status = [], 0
    for package in packages:
        for known in package.get("vulns", []):
            names = {known["id"], *known.get("aliases", [])}
            if names & ACCEPTED.keys():
                continue
            fixed = ", ".join(known.get("fix_versions", [])) or "none"
            lines.append(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
            status = 1
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        lines.append(
            f"warning: {len(skipped)} of {len(packages)} packages were not audited "
            f"({skipped[0]['skip_reason']})"
        )
    else:
        lines.append(f"{len(packages)} packages audited, {len(lines)} vulnerabilities known")
    return status, lines


def main() -> int:
    """Run pip-audit on a file of pins and judge its report."""
    flags = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "-r", sys.argv[1], *flags],
        capture_output=True,
        text=True,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        errors = done.stderr.strip().splitlines() or ["nothing"]
        pinned = sum("==" in line for line in Path(sys.argv[1]).read_text().splitlines())
        if not any(word in done.stderr for word in ("ServiceError", "Connection", "timed out")):
            print(done.stderr, file=sys.stderr)
            return 1
        print(f"warning: {pinned} of {pinned} packages were not audited ({errors[-1]})")
        return 0
    status, lines = judge(packages)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
