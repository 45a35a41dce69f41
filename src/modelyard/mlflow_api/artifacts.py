"""Files of runs and models through MLflow's artifact proxy: callers hold no keys of the storage."""

import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from modelyard.errors import ModelyardError
from modelyard.mlflow_api.models import ModelsApi
from modelyard.mlflow_api.types import ArtifactFile

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_SECONDS = 120.0


class ArtifactsApi(ModelsApi):
    """The part of the client that moves files."""

    def list_artifacts(self, uri: str) -> list[ArtifactFile]:
        """Every file below an artifact folder, with paths relative to it."""
        if (local := _local(uri)) is not None:
            return _list_local(local)
        root = self._proxied(uri)
        files: list[ArtifactFile] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            path = f"{root}/{folder}" if folder else root
            answer = self.send("GET", _PROXY, params={"path": path})
            for item in self._parse(answer).get("files", []):
                name = f"{folder}/{item['path']}" if folder else item["path"]
                if item.get("is_dir"):
                    folders.append(name)
                else:
                    files.append(ArtifactFile(name, int(item.get("file_size", 0))))
        return sorted(files, key=lambda file: file.path)

    def upload(self, uri: str, name: str, file: Path) -> None:
        """Store a local file as ``name`` below an artifact folder, replacing what was there."""
        self.upload_bytes(uri, name, file.read_bytes())

    def upload_bytes(self, uri: str, name: str, content: bytes) -> None:
        """Store bytes as the file ``name`` below an artifact folder."""
        if (local := _local(uri)) is not None:
            path = _inside(local, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return
        path = f"{_PROXY}/{quote(f'{self._proxied(uri)}/{name}')}"
        self.send("PUT", path, content=content, timeout=_SECONDS)

    def upload_folder(self, uri: str, folder: Path, under: str = "") -> None:
        """Store every file below a local folder, in the order of their names."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            self.upload(uri, f"{under}/{name}" if under else name, file)

    def download(self, uri: str, folder: Path) -> None:
        """Copy every file below an artifact folder into ``folder``, which is made.

        Raises:
            ModelyardError: there is no file, or a name would lead out of ``folder``.
        """
        files = self.list_artifacts(uri)
        if not files:
            raise ModelyardError(f"there are no files at {uri}", "Register the model again.")
        for file in files:
            target = _inside(folder, file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(uri, file.path, target)

    def download_version(self, name: str, version: int, folder: Path, under: str = "") -> None:
        """Copy the files of a version (or of its subfolder ``under``) into ``folder``."""
        uri = self.version_uri(name, version)
        self.download(f"{uri.rstrip('/')}/{under}" if under else uri, folder)

    def read_artifact(self, uri: str, name: str) -> bytes:
        """The content of one file below an artifact folder."""
        if (local := _local(uri)) is not None:
            return _inside(local, name).read_bytes()
        path = f"{_PROXY}/{quote(f'{self._proxied(uri)}/{name}')}"
        return self.send("GET", path, timeout=_SECONDS).content

    def _fetch(self, uri: str, name: str, target: Path) -> None:
        import httpx

        if (local := _local(uri)) is not None:
            shutil.copyfile(_inside(local, name), target)
            return
        url = f"{self.base_url}{_PROXY}/{quote(f'{self._proxied(uri)}/{name}')}"
        try:
            with self._open().stream("GET", url, timeout=_SECONDS) as answer:
                if answer.status_code >= 400:
                    answer.read()
                self._refuse(answer)
                with target.open("wb") as file:
                    for block in answer.iter_bytes():
                        file.write(block)
        except httpx.TransportError as error:
            raise self.unavailable(error) from None

    def _proxied(self, uri: str) -> str:
        """The path below the proxy's root of an ``mlflow-artifacts:`` or proxied address."""
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts":
            return unquote(parts.path).strip("/")
        if parts.scheme in ("http", "https") and f"{_PROXY}/" in parts.path:
            return unquote(parts.path.split(f"{_PROXY}/", 1)[1]).strip("/")
        raise ModelyardError(
            f"MLflow at {self.address} does not hand out the files at {uri}",
            "Start it with --serve-artifacts and --artifacts-destination.",
        )


def _local(uri: str) -> Path | None:
    """The folder of a ``file:`` address or plain path: a server that stores beside its client."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _list_local(folder: Path) -> list[ArtifactFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        ArtifactFile(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths
    ]


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ModelyardError(
            f"the artifact name {name!r} leads out of its folder", "Do not trust this server."
        )
    return folder / path
