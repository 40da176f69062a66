"""Makes, below a directory that is on the web, what package managers ask for: one package called tiny, of each kind."""
import base64, hashlib, io, json, os, shutil, subprocess, sys, tarfile, zipfile

DIR, URL = sys.argv[1:3]


def path(*parts):
    p = os.path.join(DIR, *parts)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


def write(data, *parts):
    with open(path(*parts), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def archive(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name); entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


# PyPI: the simple index (PEP 503), and a wheel.
with zipfile.ZipFile(path("simple", "tiny", "tiny-1.0-py3-none-any.whl"), "w") as wheel:
    wheel.writestr("tiny.py", "word = 'of pip'\n")
    wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n")
write('<a href="tiny-1.0-py3-none-any.whl">tiny-1.0-py3-none-any.whl</a>', "simple", "tiny", "index.html")

# npm: the package's document, and a tarball.
manifest = {"name": "tiny", "version": "1.0.0", "main": "index.js"}
tarball = archive({"package/package.json": json.dumps(manifest), "package/index.js": "module.exports = 'of npm'\n"})
write(tarball, "npm-tarballs", "tiny-1.0.0.tgz")
integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
version = dict(manifest, dist={"tarball": URL + "/npm-tarballs/tiny-1.0.0.tgz", "integrity": integrity})
write(json.dumps({"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}), "npm", "tiny")

# cargo: a sparse index, and a crate.
crate = archive({
    "tiny-1.0.0/Cargo.toml": '[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n',
    "tiny-1.0.0/src/lib.rs": "pub const WORD: &str = \"of cargo\";\n",
})
write(crate, "crates", "tiny-1.0.0.crate")
write(json.dumps({"dl": URL + "/crates/{crate}-{version}.crate"}), "index", "config.json")
entry = {"name": "tiny", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False, "cksum": hashlib.sha256(crate).hexdigest()}
write(json.dumps(entry) + "\n", "index", "ti", "ny", "tiny")

# apt: a flat repository, and a package.
if shutil.which("dpkg-deb"):
    control = "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@a.test>\nDescription: of apt\n"
    write(control, "deb", "DEBIAN", "control")
    write("", "apt", "tiny.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", path("deb"), path("apt", "tiny.deb")], check=True, stdout=subprocess.DEVNULL)
    deb = open(path("apt", "tiny.deb"), "rb").read()
    write(control + "Filename: ./tiny.deb\nSize: %d\nSHA256: %s\n" % (len(deb), hashlib.sha256(deb).hexdigest()), "apt", "Packages")
