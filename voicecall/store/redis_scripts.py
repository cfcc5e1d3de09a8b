"""The keys of a call store in Redis, and the scripts that are the only ones to write them.

All keys begin with the store's prefix:

| key | type | what |
|---|---|---|
| `schema` | string | version of this layout |
| `number` | string | the last change's number |
| `octets` | string | what all records, words and changes take as JSON |
| `call:<id>` | hash | `record` but for the words; `member`, `owner`, `carrier`, `change`, `size` |
| `words:<id>` | list | the transcript, an entry each |
| `told:<id>` | list | the numbers of the call's changes |
| `changes` | stream | every change; its id is `<number>-0` |
| `carriers` | hash | the carrier's id of a call: the newest such call |
| `started`, `ended`, `live` | sorted set | calls by the time in their name, in ms since the epoch |
| `lease:<server>` | string | the process that has that server's live calls; expires |

A *member* is the number of the call's first change in 16 digits, a colon and the call's id, so that
calls of one millisecond keep their order. An *owner* is `<server>#<process>`.

A script runs whole and alone. Names of keys are made within it, so a store is kept by one server
with its replicas, and not by a cluster.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, TypeAlias

SCHEMA_VERSION: Final = 1
"""Of the keys above."""

MEMBER_PREFIX_OCTETS: Final = 17
"""What stands before the call's id in a member."""

Argument: TypeAlias = bytes | str | int | float
Command: TypeAlias = tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A program for the database server, in Lua.

    Attributes:
        text: the program.
        digest: what the server knows it by once it was loaded.
    """

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> Script:
        """The script with this text."""
        # The database's own naming of scripts; nothing depends on its being unforgeable.
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def call(self, *arguments: Argument) -> Command:
        """The command that runs it; the first argument is the prefix."""
        return ("EVALSHA", self.digest, 0, *arguments)


SAVE: Final = Script.of("""
local prefix, server, process, lease_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call_id, carrier, started_at, ended_at = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local record, mark, change, position = ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[12])

local lease = prefix .. 'lease:' .. server
local holder = redis.call('GET', lease)
if holder and holder ~= process then return 'lost' end

local call, words = prefix .. 'call:' .. call_id, prefix .. 'words:' .. call_id
local owner = server .. '#' .. process
local known = redis.call('HMGET', call, 'owner', 'member', 'change', 'carrier')
if known[1] and known[1] ~= owner then return 'taken' end
local spoken = redis.call('LLEN', words)
if spoken < position then return 'words' end

if not holder then redis.call('SET', lease, process, 'PX', lease_ms) end
local gained = #record - redis.call('HSTRLEN', call, 'record')
local member = known[2]
if known[3] ~= mark then
  local number = string.format('%.0f', redis.call('INCR', prefix .. 'number'))
  member = member or string.rep('0', 16 - #number) .. number .. ':' .. call_id
  redis.call('XADD', prefix .. 'changes', number .. '-0', 'change', change)
  redis.call('RPUSH', prefix .. 'told:' .. call_id, number)
  gained = gained + #change
end
for index = 13 + spoken - position, #ARGV do
  redis.call('RPUSH', words, ARGV[index])
  gained = gained + #ARGV[index]
end
redis.call('HSET', call, 'record', record, 'owner', owner, 'member', member, 'change', mark,
  'carrier', carrier)
redis.call('HINCRBY', call, 'size', gained)
redis.call('INCRBY', prefix .. 'octets', gained)

redis.call('ZADD', prefix .. 'started', started_at, member)
if ended_at == '' then
  redis.call('ZREM', prefix .. 'ended', member)
  redis.call('ZADD', prefix .. 'live', started_at, member)
else
  redis.call('ZREM', prefix .. 'live', member)
  redis.call('ZADD', prefix .. 'ended', ended_at, member)
end

local carriers = prefix .. 'carriers'
if known[4] and known[4] ~= carrier and redis.call('HGET', carriers, known[4]) == member then
  redis.call('HDEL', carriers, known[4])
end
if carrier ~= '' then
  local newest = redis.call('HGET', carriers, carrier)
  if not newest or newest < member then redis.call('HSET', carriers, carrier, member) end
end
return 'stored'
""")
"""Store one change and the record after it.

Arguments: prefix, server, process, the lease in ms; the call's id, the carrier's or nothing, when
it started, when it ended or nothing; the record, a mark of the change, the change, the position of
the first word that follows, the words from there on. Nothing is written unless the answer is
`stored`:

- `lost`: another process holds the server's lease;
- `taken`: another server has the call;
- `words`: the words before the position are not there; send all.

A change whose mark is that of the call's last one is not stored again.
"""

CLAIM: Final = Script.of("""
local prefix, schema = ARGV[1], tonumber(ARGV[2])
local server, process, lease_ms = ARGV[3], ARGV[4], ARGV[5]
local found = redis.call('GET', prefix .. 'schema')
if found then
  if not tonumber(found) then return {'foreign'} end
  if tonumber(found) > schema then return {'newer', found} end
end
if not server then return {'claimed', 0} end

local holder = redis.call('GET', prefix .. 'lease:' .. server)
if holder and holder ~= process then
  return {'held', redis.call('PTTL', prefix .. 'lease:' .. server)}
end
redis.call('SET', prefix .. 'schema', schema)
redis.call('SET', prefix .. 'lease:' .. server, process, 'PX', lease_ms)
local taken = 0
for _, member in ipairs(redis.call('ZRANGE', prefix .. 'live', 0, -1)) do
  local call = prefix .. 'call:' .. string.sub(member, 18)
  local last = string.match(redis.call('HGET', call, 'owner') or '', '^(.*)#') or ''
  if last == server or redis.call('EXISTS', prefix .. 'lease:' .. last) == 0 then
    redis.call('HSET', call, 'owner', server .. '#' .. process)
    taken = taken + 1
  end
end
return {'claimed', taken}
""")
"""Check the layout and, for a server, take its lease and the live calls that are nobody else's.

Arguments: prefix, the version of the layout; for a server its name, the process and the lease in
ms. Answers `claimed` and how many calls there are to go on with, `held` and for how many more
milliseconds by another process, `newer` and which version, or `foreign`.
"""

RENEW: Final = Script.of("""
local lease, process = ARGV[1] .. 'lease:' .. ARGV[2], ARGV[3]
local holder = redis.call('GET', lease)
if holder and holder ~= process then return 'lost' end
redis.call('SET', lease, process, 'PX', ARGV[4])
return 'renewed'
""")
"""Keep a lease. Arguments: prefix, server, process, the lease in ms; `renewed` or `lost`."""

RELEASE: Final = Script.of("""
local lease = ARGV[1] .. 'lease:' .. ARGV[2]
if redis.call('GET', lease) == ARGV[3] then return redis.call('DEL', lease) end
return 0
""")
"""Give a lease back, if it is still ours. Arguments: prefix, server, process."""

FIND: Final = Script.of("""
local prefix, any_id = ARGV[1], ARGV[2]
local record = redis.call('HGET', prefix .. 'call:' .. any_id, 'record')
if not record then
  local member = redis.call('HGET', prefix .. 'carriers', any_id)
  if not member then return false end
  any_id = string.sub(member, 18)
  record = redis.call('HGET', prefix .. 'call:' .. any_id, 'record')
end
local found = redis.call('LRANGE', prefix .. 'words:' .. any_id, 0, -1)
table.insert(found, 1, record)
return found
""")
"""A call by our id or the carrier's. Arguments: prefix, id; its record and words, or nothing."""

READ: Final = Script.of("""
local prefix, owner, found = ARGV[1], ARGV[2], {}
for index = 3, #ARGV do
  local call = redis.call('HMGET', prefix .. 'call:' .. ARGV[index], 'record', 'owner')
  if call[1] and (owner == '' or owner == call[2]) then
    local words = redis.call('LRANGE', prefix .. 'words:' .. ARGV[index], 0, -1)
    table.insert(words, 1, call[1])
    table.insert(found, words)
  end
end
return found
""")
"""Several calls. Arguments: prefix, whose calls or nothing, ids; a list of records with words."""

FORGET: Final = Script.of("""
local prefix, steps = ARGV[1], tonumber(ARGV[2])
local before, calls, octets = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ended, forgotten = prefix .. 'ended', 0
while forgotten < steps do
  local oldest = redis.call('ZRANGE', ended, 0, 0, 'WITHSCORES')
  local member = oldest[1]
  if not member then break end
  if not (before and tonumber(oldest[2]) <= before)
    and not (calls and redis.call('ZCARD', ended) > calls)
    and not (octets and tonumber(redis.call('GET', prefix .. 'octets')) > octets)
  then break end
  local call_id = string.sub(member, 18)
  local call, told = prefix .. 'call:' .. call_id, prefix .. 'told:' .. call_id
  local known = redis.call('HMGET', call, 'carrier', 'size')
  if known[1] and redis.call('HGET', prefix .. 'carriers', known[1]) == member then
    redis.call('HDEL', prefix .. 'carriers', known[1])
  end
  for _, number in ipairs(redis.call('LRANGE', told, 0, -1)) do
    redis.call('XDEL', prefix .. 'changes', number .. '-0')
  end
  redis.call('DECRBY', prefix .. 'octets', known[2] or 0)
  redis.call('DEL', call, told, prefix .. 'words:' .. call_id)
  redis.call('ZREM', prefix .. 'started', member)
  redis.call('ZREM', ended, member)
  forgotten = forgotten + 1
end
return forgotten
""")
"""Forget the calls that ended first.

Arguments: prefix, how many at most, and while one of these holds: the oldest ended no later than so
many ms after the epoch, there are more ended calls than so many, all calls take more octets than so
many; each may be empty. Answers how many were forgotten.
"""

SCRIPTS: Final = (SAVE, CLAIM, RENEW, RELEASE, FIND, READ, FORGET)
"""All of them."""
