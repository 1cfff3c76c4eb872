"""An API for Mosquitto in FastAPI: 200 for yes and 401 for no. Run it: uvicorn api:app --port 8000"""

import hmac
import os
from typing import Optional

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

import users

TOKEN = os.environ.get("API_TOKEN")
READ, WRITE, READ_AND_WRITE, SUBSCRIBE = 1, 2, 3, 4

# A subscription is pointless without what arrives on it, so one rule holds for both.
RULES = {
    READ: ["subscribe"],
    WRITE: ["publish"],
    READ_AND_WRITE: ["subscribe", "publish"],
    SUBSCRIBE: ["subscribe"],
}


class Login(BaseModel):
    username: str
    password: str


class User(BaseModel):
    username: str


class Access(BaseModel):
    username: str
    clientid: str
    topic: str
    acc: int


class Accesses(BaseModel):
    checks: list[Access]


class Event(BaseModel):
    event: str
    at: float
    username: Optional[str]
    clientid: str
    peerhost: Optional[str]
    reason: Optional[str]


class Events(BaseModel):
    events: list[Event]


app = FastAPI()


@app.middleware("http")
async def brokers_alone(request: Request, call_next):
    """With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …"""
    expected, given = f"Bearer {TOKEN}", request.headers.get("Authorization", "")
    if TOKEN is None or hmac.compare_digest(given.encode(), expected.encode()):
        return await call_next(request)
    return Response(status_code=401)


def answer(allowed):
    return Response(status_code=200 if allowed else 401)


def may_access(asked):
    rules = RULES.get(asked.acc, [])
    return rules != [] and all(users.may(asked.username, rule, asked.topic) for rule in rules)


# Without `async` each question has a thread of its own, since checking a password takes a while.
@app.post("/user")
def user(login: Login):
    return answer(users.is_password(login.username, login.password))


@app.post("/superuser")
def superuser(user: User):
    return answer(users.is_superuser(user.username))


@app.post("/acl")
def acl(asked: Access):
    return answer(may_access(asked))


@app.post("/acls")
def acls(asked: Accesses):
    return {"results": ["allow" if may_access(check) else "deny" for check in asked.checks]}


@app.post("/events", status_code=204)
def events(told: Events):
    for event in told.events:
        why = f" ({event.reason})" if event.reason else ""
        print(f"{event.event} {event.clientid!r} of {event.username!r}{why}", flush=True)
