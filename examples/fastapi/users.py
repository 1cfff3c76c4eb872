#!/usr/bin/env python3
"""The users and what each may do, in SQLite. Run as a command, it adds a user: users.py --help"""

import argparse
import getpass
import os
import sqlite3
import sys
from contextlib import closing

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

DATABASE = os.environ.get("USERS_DB", "users.db")

TABLES = """
create table if not exists users (name text primary key, password text, superuser integer);
create table if not exists rules (user text references users, may text, filter text);
"""

# The least that OWASP recommends: a broker's clients all log in again at once after an outage.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Checked for unknown users too, so that they cannot be told from known ones by the time it takes.
NOBODYS_PASSWORD = hasher.hash("")


def database():
    return closing(sqlite3.connect(DATABASE))


def is_password(name, password):
    with database() as rows:
        user = rows.execute("select password from users where name = ?", [name]).fetchone()
    try:
        hasher.verify(user[0] if user else NOBODYS_PASSWORD, password)
    except VerifyMismatchError:
        return False
    return user is not None


def is_superuser(name):
    with database() as rows:
        user = rows.execute("select superuser from users where name = ?", [name]).fetchone()
    return user is not None and bool(user[0])


def may(name, what, topic):
    """Whether a rule lets this user `publish` or `subscribe` to the topic."""
    with database() as rows:
        rules = rows.execute("select filter from rules where user = ? and may = ?", [name, what])
        return any(covers(rule, topic) for [rule] in rules)


def covers(rule, topic):
    """Whether the rule holds for the whole of a topic, or of a subscription's filter: a/+ does not
    hold for a/#."""
    levels = topic.split("/")
    if levels[0].startswith("$") and rule.startswith(("+", "#")):
        return False  # the broker's own topics
    own = rule.split("/")
    for nth, level in enumerate(own):
        if level == "#":
            return True
        if nth == len(levels) or levels[nth] == "#" or level not in ("+", levels[nth]):
            return False
    return len(own) == len(levels)


def add(name, password, superuser, publish, subscribe):
    rules = [(name, "publish", rule) for rule in publish]
    rules += [(name, "subscribe", rule) for rule in subscribe]
    with database() as rows, rows:
        rows.executescript(TABLES)
        user = (name, hasher.hash(password), superuser)
        rows.execute("insert or replace into users values (?, ?, ?)", user)
        rows.execute("delete from rules where user = ?", [name])
        rows.executemany("insert into rules values (?, ?, ?)", rules)


def main():
    parser = argparse.ArgumentParser(
        description="Adds a user, or replaces one. "
        "The password is asked for, or read from standard input."
    )
    parser.add_argument("name")
    parser.add_argument("--superuser", action="store_true", help="may do everything")
    parser.add_argument("--publish", metavar="FILTER", action="append", default=[])
    parser.add_argument("--subscribe", metavar="FILTER", action="append", default=[])
    options = parser.parse_args()
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {options.name}: ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    add(options.name, password, options.superuser, options.publish, options.subscribe)


if __name__ == "__main__":
    main()
