#!/usr/bin/env python3
"""Checks what deploy/ hands to administrators. usage: check.py units|containers|kubernetes|package_files|bundle BUILD

units          systemd-analyze security: exposure of each unit at most 2.5; atelier-media can be run and confine itself
containers     hadolint accepts each Dockerfile, and no image runs as root
kubernetes     yamllint and kubernetes-validate accept each manifest, and each container is confined
package_files  maintainer scripts parse, and name the same users and folders as the units
bundle BUILD   deploy/gpu-bundle packs BUILD in at most its 60 MiB, and what it packs runs with the bundle's libraries and
               torch's alone: the commands, and the tests of worker/media and of frames (none of them calls a stand-in)
Status 77: the tool is not there (pip install -r tests/deploy/requirements.txt; apt-get install systemd yamllint).
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

REPO = pathlib.Path(__file__).resolve().parents[2]
EXPOSURE_MAX = 2.5
OF_GLIBC = r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl))\.so"
# What common/media/process.cc and worker/media_process/confine.cc call that a filter may refuse.
MEDIA_CALLS = {"vfork", "clone", "execve", "socketpair", "waitid", "wait4", "kill", "pidfd_open", "close_range", "prctl", "prlimit64", "seccomp"}


def need(tool):
    path = shutil.which(tool)
    if not path:
        print(f"skipped: there is no {tool}")
        sys.exit(77)
    return path


def run(*command):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def call_sets(analyze):
    """The calls of each of systemd's sets, those of sets within it too."""
    sets, name = {}, None
    for line in run(analyze, "--no-pager", "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = set()
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            sets[name].add(line.strip())

    def all_of(word):
        return set().union(*map(all_of, sets[word])) if word.startswith("@") else {word}
    return all_of


def allowed_calls(text, all_of):
    """What a unit's SystemCallFilter lines, of which the first says what is allowed, leave."""
    allowed = all_of("@default") | {"execve"}
    for line in re.findall(r"^SystemCallFilter=(.+)$", text, re.M):
        calls = set().union(*map(all_of, line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def units():
    analyze = need("systemd-analyze")
    faults = []
    files = sorted((REPO / "deploy/systemd").glob("*.service"))
    assert len(files) >= 2, files
    all_of = call_sets(analyze)
    for unit in files:
        done = run(analyze, "security", "--offline=true", "--no-pager", str(unit))
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        if not found:
            faults.append(f"{unit.name}: systemd-analyze told no exposure: {done.stdout[-400:]}")
        elif float(found.group(1)) > EXPOSURE_MAX:
            faults.append(f"{unit.name}: exposure {found.group(1)}, at most {EXPOSURE_MAX}")
        else:
            print(f"{unit.name}: exposure {found.group(1)}")
        text = unit.read_text()
        for word in ("Type=notify", "WatchdogSec=", "NoNewPrivileges=yes", "User="):
            if word not in text:
                faults.append(f"{unit.name}: lacks {word}")
        for call in sorted(MEDIA_CALLS - allowed_calls(text, all_of)):
            faults.append(f"{unit.name}: refuses {call}, which atelier-media or whoever starts it calls")
        # Settings that systemd does not know are warnings only.
        for line in done.stdout.splitlines():
            if "Unknown" in line or "Failed to parse" in line:
                faults.append(f"{unit.name}: {line}")
    return faults


def containers():
    hadolint = need("hadolint")
    faults = []
    files = sorted((REPO / "deploy/containers").glob("*.Dockerfile"))
    assert len(files) >= 2, files
    for file in files:
        done = run(hadolint, "--config", str(REPO / "deploy/containers/hadolint.yaml"), str(file))
        if done.returncode != 0:
            faults.append(f"{file.name}: {done.stdout}")
        users = re.findall(r"^USER\s+(\S+)", file.read_text(), re.M)
        if not users or users[-1].split(":")[0] in ("root", "0"):
            faults.append(f"{file.name}: runs as root")
        for copied in re.findall(r"^COPY\s+(?!--from)(?:--\S+\s+)*(\S+)\s", file.read_text(), re.M):
            if not (REPO / copied).exists():
                faults.append(f"{file.name}: copies {copied}, which is not there")
        print(f"{file.name}: looked at")
    return faults


def kubernetes():
    yamllint = need("yamllint")
    try:
        import kubernetes_validate
        import yaml
    except ImportError as error:
        print(f"skipped: {error}")
        sys.exit(77)
    folder = REPO / "deploy/kubernetes"
    faults = []
    files = sorted(f for f in folder.glob("*.yaml") if f.name != "yamllint.yaml")
    done = run(yamllint, "--strict", "-c", str(folder / "yamllint.yaml"), *map(str, files))
    if done.returncode != 0:
        faults.append(done.stdout)
    kinds = {}
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if document is None:
                continue
            kinds.setdefault(document["kind"], []).append(document)
            if document["kind"] == "Kustomization":
                for resource in document["resources"]:
                    if not (folder / resource).exists():
                        faults.append(f"{file.name}: {resource} is not there")
                continue
            try:
                kubernetes_validate.validate(document, "1.28", strict=True)
            except kubernetes_validate.ValidationError as error:
                faults.append(f"{file.name}: {document['kind']} {'.'.join(map(str, error.path))}: {error.message}")
    for kind in ("StatefulSet", "DaemonSet", "Service", "NetworkPolicy", "ConfigMap"):
        if kind not in kinds:
            faults.append(f"there is no {kind}")
    for workload in kinds.get("StatefulSet", []) + kinds.get("DaemonSet", []) + kinds.get("Deployment", []):
        name = workload["metadata"]["name"]
        pod = workload["spec"]["template"]["spec"]
        for container in pod["containers"]:
            context = container.get("securityContext", {})
            if not (context.get("readOnlyRootFilesystem") and context.get("allowPrivilegeEscalation") is False):
                faults.append(f"{name}: its container may change its files or gain privileges")
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                faults.append(f"{name}: keeps capabilities")
            for probe in ("livenessProbe", "readinessProbe"):
                if probe not in container:
                    faults.append(f"{name}: has no {probe}")
            # On loopback from inside: outside it the listener asks for a key, which no manifest should hold.
            if container.get("readinessProbe", {}).get("exec", {}).get("command", [])[-1:] != ["/readyz"]:
                faults.append(f"{name}: its readiness is not /readyz")
        if not pod.get("securityContext", {}).get("runAsNonRoot"):
            faults.append(f"{name}: may run as root")
    print(f"{len(files)} files: {', '.join(sorted(kinds))}")
    return faults


def package_files():
    faults = []
    folder = REPO / "deploy/packages"
    scripts = sorted(f for f in folder.rglob("*") if f.name in ("postinst", "prerm", "postrm"))
    assert len(scripts) >= 4, scripts
    for script in scripts:
        done = run("sh", "-n", str(script))
        if done.returncode != 0:
            faults.append(f"{script}: {done.stdout}")
        if "set -e" not in script.read_text():
            faults.append(f"{script}: goes on after errors")
    for unit in (REPO / "deploy/systemd").glob("*.service"):
        user = re.search(r"^User=(\S+)", unit.read_text(), re.M).group(1)
        state = "/var/lib/" + re.search(r"^StateDirectory=(\S+)", unit.read_text(), re.M).group(1)
        package = unit.name.split(".")[0].rstrip("@")
        text = (folder / package / "postinst").read_text()
        for word in (user, state):
            if not re.search(rf"{re.escape(word)}\b", text):
                faults.append(f"{package}: its postinst does not make {word}, which {unit.name} uses")
    return faults


def bundle(build):
    tests = ["media_test", "frames_test"]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        archive = f"{folder}/atelier-bundle.tar.gz"
        adds = [word for test in tests for word in ("--add", f"{build}/bin/{test}")]
        for what in ([], adds):  # the size is of the bundle without tests
            done = run(str(REPO / "deploy/gpu-bundle"), "--build", build, "--output", archive, *what)
            print(done.stdout, end="")
            if done.returncode != 0 and not what:
                return [done.stdout]
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
        programs = pathlib.Path(folder) / "atelier-bundle/bin"
        torch = run("bash", "-c", f". {REPO}/deploy/lib.sh; torch_root").stdout.strip()
        environment = {**os.environ, "TORCH_LIB": f"{torch}/torch/lib", "ATELIER_BIN": str(programs)}
        # Whatever else is found lies on the building machine only.
        path = ":".join([f"{folder}/atelier-bundle/lib", f"{torch}/torch/lib", *glob.glob(f"{torch}/nvidia/*/lib")])
        for program in sorted((programs.parent / "libexec").iterdir()):
            listed = subprocess.run(["ldd", program], text=True, env={**os.environ, "LD_LIBRARY_PATH": path},
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
            for name, found in re.findall(r"^\t(\S+) => (\S+)", listed, re.M):
                if not found.startswith((folder, torch)) and not re.match(OF_GLIBC, name):
                    faults.append(f"{program.name} takes {name} from {found}, not from the bundle")
        for command in (["atelier", "--version"], ["atelier-master", "--version"], ["atelier-worker", "--version"],
                        *([test] for test in tests)):
            done = subprocess.run([programs / command[0], *command[1:]], text=True, cwd=REPO, env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            print(f"{command[0]}: {done.stdout.strip().splitlines()[-1:]}")
            if done.returncode != 0 or "gpu-bundle leaves out" in done.stdout:
                faults.append(f"{' '.join(command)} in the bundle: {done.stdout[-2000:]}")
    return faults


def main():
    checks = {"units": 0, "containers": 0, "kubernetes": 0, "package_files": 0, "bundle": 1}
    if len(sys.argv) < 2 or checks.get(sys.argv[1]) != len(sys.argv) - 2:
        print(__doc__)
        return 2
    faults = globals()[sys.argv[1]](*sys.argv[2:])
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
