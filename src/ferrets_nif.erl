%%% The native library: stubs and loading, nothing else.
%%%
%%% Every function here is replaced when the library loads. `Tab' is a table's name; a name that no table has raises
%%% `badarg'. A `handle()' is the right to drive a table, and belongs to the table's server alone: it goes into every
%%% call that changes the protocol's state. Calls never block on anything but a short lock, and none stays on a
%%% scheduler for over a millisecond: those with more to do say `more'.
-module(ferrets_nif).

-export([abi/0, has_blocks/0]).
-export([create/4, close/1, strand/2, status/1, traffic/2]).
-export([lookup/2, lookup_element/3, lookup_element/4, member/2, size/1, first/1, last/1, next/2, prev/2, scan/2, scan_back/3]).
-export([select/4, select_on/5]).
-export([check/3, insert/3, insert_many/3, delete/3, delete_many/3, delete_objects/3, ask/4]).
-export([local_insert/2, local_delete/2, local_delete_objects/2, local_delete_owned/3]).
-export([peer_up/2, peer_down/2, message/4, overtake/4, work/1, flush/1, barrier/2, tick/1]).
-export([digest/1, sync/1, force_leader/2, pause/2, end_detour/1, decide/3]).

-export_type([handle/0, peer/0, tag/0, operation/0, answer/0, effect/0, settings/0, position/0, status/0, traffic/0]).
-export_type([program/0, mode/0, selected/0]).

-on_load(load/0).

-opaque handle() :: reference().
%% A peer's number, given out by the server: the library knows no pids of other servers.
-type peer() :: pos_integer().
%% What a waiting caller is known by: an alias, through which the server answers; or a message that the library sends to the
%% calling process, a pair with a reference of its own: `{Reference, Why}' comes in its stead if the server dies (`strand/2').
-type tag() :: reference() | {reference(), term()}.
-type position() :: start | term().
%% A compiled match specification. Good for the table that it was compiled for, for as long as that lives.
-opaque program() :: reference().
%% What is wanted: what matching records give, in the table's order or, of an `ordered_set', in reverse; the records that
%% give `true'; or only how many do.
-type mode() :: forward | backward | hits | count.
%% How much is wanted at most; or all, put before a list one by one: the slices of a query that goes `backward' make one list,
%% in the table's order.
-type bound() :: pos_integer() | infinity | [term()].
-type selected() ::
    {done, Count :: non_neg_integer(), [term()]}
    | {more, Count :: non_neg_integer(), [term()], position(), program()}.
-type effect() ::
    {send, peer(), Head :: binary(), Body :: binary()}
    | {reply, [Alias :: reference()]}
    | {answer, Alias :: reference(), answer()}
    %% A leader operation came here, and this server is not the leader. The record is in the external term format.
    | {wrong_leader, self | peer(), operation(), Record :: binary()}
    %% Two records for one key, in the external term format: ours (empty if it is gone) and the peer's. `decide/3' is to
    %% be called with the answer.
    | {conflict, Question :: pos_integer(), Ours :: binary(), Theirs :: binary()}
    | {link_up, peer()}
    | {link_down, peer(), Reason :: atom()}
    | {refused, peer(), Reason :: atom()}
    | {synced, peer()}
    %% A comparison that was made for no reason has brought so many entries that should have been here long ago.
    | {diverged, peer(), pos_integer()}.
%% Times below 2^64.
-type operation() :: insert_new | insert_new_or_lookup | insert_serial.
%% `found': the records that are there, in the external term format.
-type answer() :: inserted | present | {found, [binary()]} | wrong_leader | malformed | leader_lost.
-type settings() :: #{
    node := binary(),
    tombstone_ttl_ms := non_neg_integer(),
    stall_timeout_ms := non_neg_integer(),
    compare_interval_ms := non_neg_integer(),
    %% Whether the server answers `conflict' effects.
    asks_conflicts := boolean(),
    %% Whether rows of a lost server are dropped.
    drops_owned := boolean()
}.
-type status() :: #{atom() => term()}.
-type traffic() :: #{
    messages_sent := non_neg_integer(),
    bytes_sent := non_neg_integer(),
    messages_received := non_neg_integer(),
    bytes_received := non_neg_integer()
}.

load() ->
    erlang:load_nif(ferrets_library:path(), ferrets_library:abi()).

%% ---------------------------------------------------------------- the library

%% The library's ABI number, see `ferrets_library'.
-spec abi() -> pos_integer().
abi() -> not_loaded().

%% Whether the library knows how this VM lays out terms, and so copies most records in one piece and decodes them by itself; else
%% the VM does.
-spec has_blocks() -> boolean().
has_blocks() -> not_loaded().

%% ---------------------------------------------------------------- a table's life

%% Makes a table and publishes it under `Name'. The calling process becomes its server: when it ends, however it ends,
%% the table goes. A table of that name whose server is dead gives way.
-spec create(Name :: atom(), ordered_set | set | bag, KeyPos :: pos_integer(), settings()) ->
    {ok, handle()} | {error, already_exists}.
create(_Name, _Type, _KeyPos, _Settings) -> not_loaded().

%% Takes the table down. Its memory is freed elsewhere. Idempotent.
-spec close(handle()) -> ok.
close(_Handle) -> not_loaded().

%% The server has died: whoever waits for a message gets `{Reference, Why}' in its stead. `again': to be called again, the table is
%% being taken down at the moment.
-spec strand(handle(), Why :: term()) -> ok | again.
strand(_Handle, _Why) -> not_loaded().

%% `#{size, memory, garbage, pages, tombstones, incarnation, leader := self | peer(), writes, log_entries, log_bytes, pulls, conflicts,
%%    peers := [#{peer, state := opening | syncing | synced, unacked, lag_ms, node, incarnation}]}'; memory in words.
-spec status(handle()) -> status().
status(_Handle) -> not_loaded().

%% What `send' effects and `message/4' have carried since the table was made: to and from one peer, or all that there ever were.
-spec traffic(handle(), peer() | all) -> traffic().
traffic(_Handle, _Peer) -> not_loaded().

%% ---------------------------------------------------------------- reads: local, never a message

-spec lookup(atom(), term()) -> [tuple()].
lookup(_Tab, _Key) -> not_loaded().

-spec lookup_element(atom(), term(), pos_integer()) -> term().
lookup_element(_Tab, _Key, _Position) -> not_loaded().

-spec lookup_element(atom(), term(), pos_integer(), Default :: term()) -> term().
lookup_element(_Tab, _Key, _Position, _Default) -> not_loaded().

-spec member(atom(), term()) -> boolean().
member(_Tab, _Key) -> not_loaded().

-spec size(atom()) -> non_neg_integer().
size(_Tab) -> not_loaded().

-spec first(atom()) -> term() | '$end_of_table'.
first(_Tab) -> not_loaded().

-spec last(atom()) -> term() | '$end_of_table'.
last(_Tab) -> not_loaded().

-spec next(atom(), term()) -> term() | '$end_of_table'.
next(_Tab, _Key) -> not_loaded().

-spec prev(atom(), term()) -> term() | '$end_of_table'.
prev(_Tab, _Key) -> not_loaded().

%% A slice of a walk over all records, in the table's order, and where to go on.
-spec scan(atom(), position()) -> {[tuple()], position() | done}.
scan(_Tab, _Position) -> not_loaded().

%% The same from the end, in a table that has an order, the records being put before a list one by one: those of the slices
%% together are in the table's order. Its positions are for this call only.
-spec scan_back(atom(), position(), [tuple()]) -> {[tuple()], position() | done}.
scan_back(_Tab, _Position, _Later) -> not_loaded().

%% A slice of a query. It ends when so many have been found, of records that share a hash perhaps some more, or when its time
%% is over: `more' says where to go on. A malformed specification raises `badarg'.
-spec select(atom(), ets:match_spec(), mode(), bound()) -> selected().
select(_Tab, _Spec, _Mode, _Bound) -> not_loaded().

%% The next slice.
-spec select_on(atom(), program(), position(), mode(), bound()) -> selected().
select_on(_Tab, _Program, _Position, _Mode, _Bound) -> not_loaded().

%% ---------------------------------------------------------------- writes by local callers

%% Whether a list is fit for `insert_many/3' (`record') or `delete_many/3' (`key'), in slices: `{more, Rest}' asks to
%% be called with the rest. A bad element or an improper tail raises `badarg'.
-spec check(atom(), record | key, list()) -> ok | {more, list()}.
check(_Tab, _Kind, _List) -> not_loaded().

%% `ok': done, nobody else has to know. `wait': when every linked peer has it, a reply `{[alias | Tag], ok}' comes through the
%% alias `Tag', or the message that `Tag' is. `untagged': there are peers and no tag was given, or the table is paused and the tag
%% is no alias; nothing has been done.
-spec insert(atom(), tuple(), tag() | undefined) -> ok | wait | untagged.
insert(_Tab, _Record, _Tag) -> not_loaded().

%% Readers see up to 256 records all at once, of a longer list stretches of so many (fewer, if they are large).
%% Besides: `{more, Rest}', a slice is done and the tag not used yet; call again with the rest, which is not empty.
-spec insert_many(atom(), [tuple()], tag() | undefined) -> ok | wait | untagged | {more, [tuple()]}.
insert_many(_Tab, _Records, _Tag) -> not_loaded().

-spec delete(atom(), term(), tag() | undefined) -> ok | wait | untagged.
delete(_Tab, _Key, _Tag) -> not_loaded().

-spec delete_many(atom(), [term()], tag() | undefined) -> ok | wait | untagged | {more, [term()]}.
delete_many(_Tab, _Keys, _Tag) -> not_loaded().

%% Deletes those records that are there as they are.
-spec delete_objects(atom(), [tuple()], tag() | undefined) -> ok | wait | untagged | {more, [tuple()]}.
delete_objects(_Tab, _Records, _Tag) -> not_loaded().

%% To this replica alone. What a deletion removes is remembered in the version that it had, so that no peer's copy of it
%% comes back by a sync.
-spec local_insert(atom(), [tuple()]) -> ok | {more, [tuple()]}.
local_insert(_Tab, _Records) -> not_loaded().

-spec local_delete(atom(), [term()]) -> ok | {more, [term()]}.
local_delete(_Tab, _Keys) -> not_loaded().

-spec local_delete_objects(atom(), [tuple()]) -> ok | {more, [tuple()]}.
local_delete_objects(_Tab, _Records) -> not_loaded().

%% Drops the records that were written on a node. `more': call again with `continue'; with `done' comes their number.
-spec local_delete_owned(atom(), Node :: binary(), start | continue) -> {more | done, non_neg_integer()}.
local_delete_owned(_Tab, _Node, _From) -> not_loaded().

%% Asks the leader. The reply `{[alias | Alias], Answer}' comes through the alias.
-spec ask(atom(), operation(), tuple(), tag()) -> wait.
ask(_Tab, _Operation, _Record, _Tag) -> not_loaded().

%% ---------------------------------------------------------------- events from the server, answered with effects

%% A peer can be reached: a link is wanted. Idempotent.
-spec peer_up(handle(), peer()) -> [effect()].
peer_up(_Handle, _Peer) -> not_loaded().

%% A peer is gone; nobody waits for it any more.
-spec peer_down(handle(), peer()) -> {done | more, [effect()]}.
peer_down(_Handle, _Peer) -> not_loaded().

%% A peer's message. `more' (here and below): call `work/1' until it says `done', before any other event but `overtake/4' and
%% `flush/1'.
-spec message(handle(), peer(), Head :: binary(), Body :: binary()) -> {done | more, [effect()]}.
message(_Handle, _Peer, _Head, _Body) -> not_loaded().

%% A peer's message while there is `more' to do. `waits' and `stands_aside': keep it until it is `done', and then call `message/4'; if
%% it `waits', do the same with whatever else comes from this peer until then.
-spec overtake(handle(), peer(), Head :: binary(), Body :: binary()) ->
    {done | more, [effect()]} | waits | stands_aside.
overtake(_Handle, _Peer, _Head, _Body) -> not_loaded().

-spec work(handle()) -> {done | more, [effect()]}.
work(_Handle) -> not_loaded().

%% The answer to the wake-up `ferrets_flush' that a write sends to the server.
-spec flush(handle()) -> {done | more, [effect()]}.
flush(_Handle) -> not_loaded().

%% Replies to the alias once all that is logged by now is acknowledged.
-spec barrier(handle(), Alias :: reference()) -> [effect()].
barrier(_Handle, _Alias) -> not_loaded().

%% To be called about once a second: gives up peers that stall, compares digests when it is time, forgets tombstones that are
%% due. `more': to be called again at once.
-spec tick(handle()) -> {done | more, [effect()]}.
tick(_Handle) -> not_loaded().

%% One number for all records and their versions, below 2^64.
-spec digest(handle()) -> non_neg_integer().
digest(_Handle) -> not_loaded().

%% Compares with every linked peer now. `pulls' in the status says how many comparisons are left.
-spec sync(handle()) -> [effect()].
sync(_Handle) -> not_loaded().

%% For tests: has this server take itself for the leader, or not.
-spec force_leader(handle(), boolean()) -> [effect()].
force_leader(_Handle, _IsLeader) -> not_loaded().

%% While a table is paused, writes of local callers come to the server as `{ferrets_detour, Tag, Operation, List}', operation
%% one of `insert_many', `delete_many', `delete_objects'. The server does them after the pause, in their order, by the calls
%% above (which are direct for it), has `Tag' answered, and calls `end_detour/1' for each. `done': as for `message/4'.
-spec pause(handle(), boolean()) -> {done | more, [effect()]}.
pause(_Handle, _IsPaused) -> not_loaded().

-spec end_detour(handle()) -> [effect()].
end_detour(_Handle) -> not_loaded().

%% The answer to `conflict': a record of the same key; anything else has the newer of the two kept.
-spec decide(handle(), Question :: pos_integer(), tuple() | newer) -> [effect()].
decide(_Handle, _Question, _Record) -> not_loaded().

not_loaded() ->
    erlang:nif_error(not_loaded).
