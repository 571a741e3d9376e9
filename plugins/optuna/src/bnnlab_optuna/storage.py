"""Where a study is kept: a database, made once however many processes begin."""

import time
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import exc

from bnnlab.errors import UsageError, first_line, install_command
from bnnlab_optuna.tuning import Direction

FILE = "study.db"
PATIENCE = 60
"""Seconds to wait for another process that writes to a SQLite file."""
ATTEMPTS = 10
"""How often the tables are made, while other machines make them, too."""
_SECRET = ("password", "passfile", "sslpassword")
FAULTS = (exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What is raised by a storage that cannot be used, or no more."""
DIGEST = "bnnlab_digest"
"""The attribute of a study that says what it tunes."""


def find_address(said: str, folder: Path) -> str:
    """Return the address of the storage that `[tune]` names.

    Raises:
        UsageError: If it is no address, or one of a database that ends with the process.
    """
    if said == "sqlite":
        try:
            return str(sqlalchemy.URL.create("sqlite", database=str(folder.resolve() / FILE)))
        except OSError as error:  # the working directory was deleted
            raise UsageError(f"cannot find the folder {folder}: {error.strerror}.") from error
    try:
        url = sqlalchemy.make_url(said)
    except (exc.ArgumentError, ValueError):  # such as a port that is no number
        raise UsageError(
            "tune.storage: write sqlite, or an address as postgresql+psycopg://HOST:PORT/DATABASE."
        ) from None  # it may hold a password
    is_kept = url.database and ":memory:" not in url.database and url.query.get("mode") != "memory"
    if url.get_backend_name() == "sqlite" and not is_kept:
        raise UsageError(
            "tune.storage: a database in memory ends with its process. Write sqlite: a file in "
            "the study's folder."
        )
    return said


def without_secrets(address: str) -> str:
    """Return an address as it may be shown and written: without a password."""
    if address == "sqlite":
        return address
    url = sqlalchemy.make_url(address)
    return str(url._replace(password=None).difference_update_query(_SECRET))


def connect(address: str, *, make: bool = False) -> RDBStorage:
    """Return the storage at an address.

    Args:
        address: As SQLAlchemy writes it.
        make: Whether its tables are made where they are missing.

    Raises:
        UsageError: If it cannot be reached, or its driver is not installed.
    """
    is_file = address.startswith("sqlite")
    keywords = {"connect_args": {"timeout": PATIENCE}} if is_file else {"pool_pre_ping": True}
    for left in reversed(range(ATTEMPTS)):
        try:
            return RDBStorage(address, engine_kwargs=keywords, skip_table_creation=not make)
        except (ImportError, exc.NoSuchModuleError) as error:
            raise UsageError(
                f"the driver of {without_secrets(address)} is not installed. For PostgreSQL: "
                f"{install_command('bnnlab-optuna[postgresql]')}, and write postgresql+psycopg://."
            ) from error
        except exc.SQLAlchemyError as error:
            # Two machines that begin at once both find no tables, and one comes too late.
            is_late = "already exists" in str(error) or isinstance(error, exc.IntegrityError)
            if not (is_late and left):
                raise UsageError(unreachable(address, error)) from None  # it holds the address
        except RuntimeError as error:  # the tables are of another version of Optuna
            raise UsageError(f"{without_secrets(address)}: {first_line(error)}") from error
        time.sleep(0.2)
    raise AssertionError


def unreachable(address: str, error: BaseException) -> str:
    """Return what is wrong with a storage, without its password."""
    why = first_line(error.__cause__ or error)
    if password := sqlalchemy.make_url(address).password:
        why = why.replace(str(password), "***")
    return f"the storage {without_secrets(address)} cannot be used: {why}"


def open_study(storage: RDBStorage, name: str, direction: Direction, digest: str) -> optuna.Study:
    """Return the study of this name, made if it is not there.

    Raises:
        UsageError: If the name is that of a study that tunes something else.
    """
    study = optuna.create_study(
        study_name=name, storage=storage, direction=direction, load_if_exists=True
    )
    if DIGEST not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise UsageError(f"the storage has a study {name!r} that bnnlab did not make.")
        study.set_user_attr(DIGEST, digest)
    if study.user_attrs[DIGEST] != digest:
        raise UsageError(
            f"the study {name!r} tunes something else: its settings, space, seeds or measure "
            "differ. Choose another --name, or continue it with its own file."
        )
    return study


def disconnect(storage: RDBStorage) -> None:
    """Close all connections."""
    storage.remove_session()
    storage.engine.dispose()
