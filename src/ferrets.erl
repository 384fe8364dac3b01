%%% Replicated in-memory tables: every node holds the whole table, reads are local, writes are everywhere when they return.
%%%
%%% This module is all that most users need; `ferrets_join' links the tables of two nodes.
%%%
%%% It is not a database: nothing is on disk, there are no transactions and no schema, and while a netsplit lasts each
%%% side goes on by itself.
%%%
%%% Guarantees:
%%%
%%% - A write that returned has been applied, or overtaken by a newer one, by every server that was linked then and is
%%%   still. The writer's own node sees it at once.
%%% - Writes of one process arrive everywhere in its order, and it reads its own writes.
%%% - Linked servers at rest hold the same records. Of two writes to one key the newer wins, the same on every node.
%%% - Joining and syncing block no write and no read.
%%% - The table goes with its server, however that ends.
%%%
%%%     1> {ok, _} = ferrets:start(sessions, #{}).
%%%     2> ok = ferrets:insert(sessions, {<<"anna">>, self(), #{}}).
%%%     3> ferrets:lookup(sessions, <<"anna">>).
%%%     [{<<"anna">>,<0.85.0>,#{}}]
%%%     4> ok = ferrets_join:join(lock, #{}, whereis(sessions), erpc:call(Node, erlang, whereis, [sessions])).
%%%
%%% Errors. A caller's mistake raises in the caller, and nothing is sent anywhere: `badarg', or `function_clause'. Reads of
%%% a table that is not there raise `badarg', as in `ets'. Writes to a name that nobody holds exit with
%%% `{noproc, {gen_server, call, _}}'; other calls raise `{pid_not_found, Server}'. A server that dies during a call ends it
%%% with an exit, as in `gen_server:call/2'; whether a write was done is then unknown.
-module(ferrets).

-export([start/2, start_link/2, child_spec/1, stop/1]).
-export([insert/2, insert_many/2, delete/2, delete_many/2, delete_object/2, delete_objects/2]).
-export([insert_new/2, insert_new_or_lookup/2, insert_serial/2]).
-export([insert_request/2, insert_many_request/2, delete_request/2, delete_many_request/2]).
-export([delete_object_request/2, delete_objects_request/2]).
-export([wait_response/2, wait_responses/2]).
-export([lookup/2, lookup_element/3, lookup_element/4, member/2, size/1]).
-export([first/1, last/1, next/2, prev/2, tab2list/1, dump/1, foldl/3, foldr/3, remote_dump/1]).
-export([match/1, match/2, match/3, match_object/1, match_object/2, match_object/3]).
-export([select/1, select/2, select/3, select_reverse/1, select_reverse/2, select_reverse/3, select_count/2]).
-export([match_delete/2, select_delete/2]).
-export([info/1, table_name/1, other_nodes/1, other_pids/1, get_nodes_request/1, get_leader/1, ping/1, ping_all/1]).
-export([set_leader/2, pause/1, unpause/2, digest/1, verify/1, sync/1]).

-export_type([table/0, server/0, key/0, options/0, start_error/0, option_error/0, request_id/0, continuation/0]).

-compile({no_auto_import, [size/1]}).

-type table() :: atom().
%% A table of this node by name, or its server anywhere.
-type server() :: ferrets_address:server().
-type key() :: term().
-type options() :: ferrets_options:options().
-type start_error() :: ferrets_server:start_error().
-type option_error() :: ferrets_options:reason().
-type request_id() :: ferrets_request:id().
%% Where a query with a limit goes on; good on its node, for as long as its table lives.
-type continuation() :: ferrets_select:continuation().

%% ---------------------------------------------------------------- a table's life

%% Makes an empty table on this node, with a server that is registered under the table's name. It is linked to no other
%% until `ferrets_join:join/4' does it. All that is wrong with the options is in the error; then nothing is started.
-spec start(table(), options()) -> {ok, pid()} | {error, start_error()}.
start(Tab, Options) when is_atom(Tab), Tab =/= undefined ->
    ferrets_server:start(start, Tab, Options).

%% The same, linked to the caller, for supervisors.
-spec start_link(table(), options()) -> {ok, pid()} | {error, start_error()}.
start_link(Tab, Options) when is_atom(Tab), Tab =/= undefined ->
    ferrets_server:start(start_link, Tab, Options).

%% For a supervisor's list of children: `ferrets:child_spec({sessions, #{type => set}})'.
-spec child_spec({table(), options()}) -> supervisor:child_spec().
child_spec({Tab, Options}) when is_atom(Tab) ->
    #{id => {ferrets, Tab}, start => {ferrets, start_link, [Tab, Options]}}.

%% Ends the server, and the table with it. Peers keep their records.
-spec stop(server()) -> ok.
stop(Server) ->
    gen_server:stop(ferrets_address:pid_or_error(Server)).

%% ---------------------------------------------------------------- replicated writes

%% Writes a record over whatever stands under its key. Without peers: no message is sent. With peers: one round trip to
%% each, shared with all other writes of the moment.
-spec insert(server(), tuple()) -> ok.
insert(Server, Record) ->
    ferrets_write:call(Server, insert, Record).

%% Writes all of the records, or none of them if one is none.
-spec insert_many(server(), [tuple()]) -> ok.
insert_many(Server, Records) ->
    ferrets_write:call(Server, insert_many, Records).

%% Deletes what is under a key. An absent key is fine: the deletion is remembered all the same, against older records
%% that a peer may still bring.
-spec delete(server(), key()) -> ok.
delete(Server, Key) ->
    ferrets_write:call(Server, delete, Key).

-spec delete_many(server(), [key()]) -> ok.
delete_many(Server, Keys) ->
    ferrets_write:call(Server, delete_many, Keys).

%% Deletes a record if it is here as it is, in the version that was seen here: a newer record of the key, on whatever node,
%% survives.
-spec delete_object(server(), tuple()) -> ok.
delete_object(Server, Record) ->
    ferrets_write:call(Server, delete_objects, [Record]).

-spec delete_objects(server(), [tuple()]) -> ok.
delete_objects(Server, Records) ->
    ferrets_write:call(Server, delete_objects, Records).

%% Deletes on every node what matches a pattern here, in the versions that are seen here: a newer record of the key, on whatever
%% node, survives. Returns how many records were found. Looks at all records that may match (see `select/2'), in slices, and
%% deletes while it looks: a reader may see a part of them gone.
%%
%%     1> ferrets:match_delete(sessions, {{<<"anna">>, '_'}, '_', '_'}).
%%     2
-spec match_delete(server(), ets:match_pattern()) -> non_neg_integer().
match_delete(Server, Pattern) ->
    ferrets_select:delete(Server, ferrets_select:deletion(Pattern)).

%% The same for the records for which a match specification gives `true'.
-spec select_delete(server(), ets:match_spec()) -> non_neg_integer().
select_delete(Server, Spec) ->
    ferrets_select:delete(Server, Spec).

%% ---------------------------------------------------------------- writes that the leader does one after the other

%% Inserts a record if no record has its key, in a `bag' neither. In a linked cluster at most one call per key returns `true'. One round trip to
%% the leader and one from there to all nodes, shared with other calls of the moment. Waits for syncs of the leader.
%% Fails with `send_leader_op_failed' if no leader is found for about 15 s.
-spec insert_new(server(), tuple()) -> boolean().
insert_new(Server, Record) ->
    ferrets_leader_op:call(Server, insert_new, Record) =:= inserted.

%% Likewise; the records are those under the key afterwards.
-spec insert_new_or_lookup(server(), tuple()) -> {WasInserted :: boolean(), [tuple()]}.
insert_new_or_lookup(Server, Record) ->
    case ferrets_leader_op:call(Server, insert_new_or_lookup, Record) of
        inserted -> {true, [Record]};
        {found, Found} -> {false, Found}
    end.

%% Inserts in any case, in one order with all other leader operations.
-spec insert_serial(server(), tuple()) -> ok.
insert_serial(Server, Record) ->
    inserted = ferrets_leader_op:call(Server, insert_serial, Record),
    ok.

%% ---------------------------------------------------------------- replicated writes that do not wait

%% Like `insert/2' or `insert_many/2', but returns when the write is done on this node, or sent to the server's; the
%% answer, which `wait_response/2' gives, is there when the call would have returned.
-spec insert_request(server(), tuple() | [tuple()]) -> request_id().
insert_request(Server, Records) when is_list(Records) ->
    insert_many_request(Server, Records);
insert_request(Server, Record) ->
    ferrets_write:request(Server, insert, Record).

-spec insert_many_request(server(), [tuple()]) -> request_id().
insert_many_request(Server, Records) ->
    ferrets_write:request(Server, insert_many, Records).

-spec delete_request(server(), key()) -> request_id().
delete_request(Server, Key) ->
    ferrets_write:request(Server, delete, Key).

-spec delete_many_request(server(), [key()]) -> request_id().
delete_many_request(Server, Keys) ->
    ferrets_write:request(Server, delete_many, Keys).

-spec delete_object_request(server(), tuple()) -> request_id().
delete_object_request(Server, Record) ->
    ferrets_write:request(Server, delete_objects, [Record]).

-spec delete_objects_request(server(), [tuple()]) -> request_id().
delete_objects_request(Server, Records) ->
    ferrets_write:request(Server, delete_objects, Records).

%% The answer to a request. After `timeout' it is still under way and may be waited for again.
-spec wait_response(request_id(), timeout()) -> ferrets_request:answer(term()).
wait_response(RequestId, Timeout) ->
    ferrets_request:wait(RequestId, Timeout).

%% The answers to many requests, in the order of the ids. The time is for all of them together: milliseconds, or
%% `{abs, Ms}' in Erlang monotonic time.
-spec wait_responses([request_id()], ferrets_request:timeout_or_deadline()) -> [ferrets_request:answer(term())].
wait_responses(RequestIds, Timeout) ->
    ferrets_request:wait_all(RequestIds, Timeout).

%% ---------------------------------------------------------------- reads: local, never a message

%% All reads are those of `ets' on a table of the same type, and raise as they do. Each sees every write of this
%% process, and every write that had returned on any linked node before the read began.

-spec lookup(table(), key()) -> [tuple()].
lookup(Tab, Key) ->
    ferrets_nif:lookup(Tab, Key).

%% An element of the record under a key, and no more of it is copied; in a `bag' a list of those of all its records. `badarg'
%% if there is no record, or no such element.
-spec lookup_element(table(), key(), pos_integer()) -> term().
lookup_element(Tab, Key, Position) ->
    ferrets_nif:lookup_element(Tab, Key, Position).

%% The same, with what to return if there is no such record.
-spec lookup_element(table(), key(), pos_integer(), term()) -> term().
lookup_element(Tab, Key, Position, Default) ->
    ferrets_nif:lookup_element(Tab, Key, Position, Default).

-spec member(table(), key()) -> boolean().
member(Tab, Key) ->
    ferrets_nif:member(Tab, Key).

-spec size(table()) -> non_neg_integer().
size(Tab) ->
    ferrets_nif:size(Tab).

-spec first(table()) -> key() | '$end_of_table'.
first(Tab) ->
    ferrets_nif:first(Tab).

-spec last(table()) -> key() | '$end_of_table'.
last(Tab) ->
    ferrets_nif:last(Tab).

-spec next(table(), key()) -> key() | '$end_of_table'.
next(Tab, Key) ->
    ferrets_nif:next(Tab, Key).

-spec prev(table(), key()) -> key() | '$end_of_table'.
prev(Tab, Key) ->
    ferrets_nif:prev(Tab, Key).

%% All records: copies the whole table into the caller's heap, in many short steps.
-spec tab2list(table()) -> [tuple()].
tab2list(Tab) ->
    ferrets_walk:to_list(Tab).

-spec dump(table()) -> [tuple()].
dump(Tab) ->
    ferrets_walk:to_list(Tab).

-spec foldl(fun((tuple(), Acc) -> Acc), Acc, table()) -> Acc.
foldl(Fun, Acc, Tab) ->
    ferrets_walk:foldl(Fun, Acc, Tab).

%% From the last record to the first, in an `ordered_set'; in no order otherwise.
-spec foldr(fun((tuple(), Acc) -> Acc), Acc, table()) -> Acc.
foldr(Fun, Acc, Tab) ->
    ferrets_walk:foldr(Fun, Acc, Tab).

%% All records of a table that may be on another node: the whole table in one message.
-spec remote_dump(server()) -> {ok, [tuple()]}.
remote_dump(Server) ->
    ferrets_address:call(Server, dump).

%% ---------------------------------------------------------------- queries: local, never a message

%% Patterns, match specifications, results, their order and exceptions are those of `ets' on a table of the same type, in this
%% release of OTP. Records are looked at where they stand, and only results are copied to the caller's heap. A query is in
%% many short steps, and no snapshot: a record that is there throughout is looked at once.
%%
%% What is looked at: of a key that the pattern gives, its records; of a key of which an `ordered_set' is given the beginning, as in
%% `{{<<"anna">>, '_'}, '_'}', that range; else all records. Of several clauses the same holds if all of them give whole
%% keys, or all the same beginning.
%%
%% With a limit, the result is `{Results, Continuation}' or `$end_of_table'; the calls with one argument go on from there. A
%% malformed pattern or specification, a limit that is no positive integer, and a continuation that is none, or whose table
%% is gone, raise `badarg'.

%% What the variables of a pattern are bound to, in the order of their numbers.
%%
%%     1> ferrets:match(rooms, {{'$1', <<"host">>}, '$2'}).
%%     [[<<"attic">>,<0.85.0>],[<<"cellar">>,<0.86.0>]]
-spec match(table(), ets:match_pattern()) -> [[term()]].
match(Tab, Pattern) ->
    ferrets_select:all(Tab, ferrets_select:matching(Pattern), forward).

-spec match(table(), ets:match_pattern(), pos_integer()) -> {[[term()]], continuation()} | '$end_of_table'.
match(Tab, Pattern, Limit) ->
    ferrets_select:chunk(Tab, ferrets_select:matching(Pattern), forward, Limit).

-spec match(continuation()) -> {[[term()]], continuation()} | '$end_of_table'.
match(Continuation) ->
    ferrets_select:continue(Continuation).

%% The records that match a pattern.
%%
%%     1> ferrets:match_object(sessions, {{<<"anna">>, '_'}, '_', '_'}).
%%     [{{<<"anna">>,phone},<0.85.0>,#{}}]
-spec match_object(table(), ets:match_pattern()) -> [tuple()].
match_object(Tab, Pattern) ->
    ferrets_select:all(Tab, ferrets_select:objects(Pattern), forward).

-spec match_object(table(), ets:match_pattern(), pos_integer()) -> {[tuple()], continuation()} | '$end_of_table'.
match_object(Tab, Pattern, Limit) ->
    ferrets_select:chunk(Tab, ferrets_select:objects(Pattern), forward, Limit).

-spec match_object(continuation()) -> {[tuple()], continuation()} | '$end_of_table'.
match_object(Continuation) ->
    ferrets_select:continue(Continuation).

%% What a match specification gives for the records that match it.
%%
%%     1> ferrets:select(sessions, [{{{'$1', '_'}, '$2', '_'}, [{'==', {node, '$2'}, node()}], ['$1']}]).
%%     [<<"anna">>]
-spec select(table(), ets:match_spec()) -> [term()].
select(Tab, Spec) ->
    ferrets_select:all(Tab, Spec, forward).

-spec select(table(), ets:match_spec(), pos_integer()) -> {[term()], continuation()} | '$end_of_table'.
select(Tab, Spec, Limit) ->
    ferrets_select:chunk(Tab, Spec, forward, Limit).

-spec select(continuation()) -> {[term()], continuation()} | '$end_of_table'.
select(Continuation) ->
    ferrets_select:continue(Continuation).

%% The same, of an `ordered_set' from the last key to the first.
-spec select_reverse(table(), ets:match_spec()) -> [term()].
select_reverse(Tab, Spec) ->
    ferrets_select:all(Tab, Spec, backward).

-spec select_reverse(table(), ets:match_spec(), pos_integer()) -> {[term()], continuation()} | '$end_of_table'.
select_reverse(Tab, Spec, Limit) ->
    ferrets_select:chunk(Tab, Spec, backward, Limit).

-spec select_reverse(continuation()) -> {[term()], continuation()} | '$end_of_table'.
select_reverse(Continuation) ->
    ferrets_select:continue(Continuation).

%% For how many records a match specification gives `true'. Copies nothing.
-spec select_count(table(), ets:match_spec()) -> non_neg_integer().
select_count(Tab, Spec) ->
    ferrets_select:count(Tab, Spec).

%% ---------------------------------------------------------------- the server and its peers

%% `table, type, keypos, opts, nodes, other_servers, leader, size, memory' (words)`, tombstones, peers, node_down_history'
%% (the last 100 nodes whose servers went, latest first)`, pause_monitors', and what else the library counts.
-spec info(server()) -> #{atom() => term()}.
info(Server) ->
    ferrets_address:call(Server, info).

-spec table_name(server()) -> {ok, table()}.
table_name(Server) ->
    ferrets_address:call(Server, table_name).

%% The nodes of the peers whose link is up.
-spec other_nodes(server()) -> ordsets:ordset(node()).
other_nodes(Server) ->
    lists:usort([node(Pid) || Pid <- other_pids(Server)]).

%% The peers whose link is up.
-spec other_pids(server()) -> ordsets:ordset(pid()).
other_pids(Server) ->
    ferrets_address:call(Server, other_pids).

%% The answer is the sorted list of the linked nodes, the server's own included.
-spec get_nodes_request(server()) -> request_id().
get_nodes_request(Server) ->
    ferrets_request:send(ferrets_address:pid_or_error(Server), nodes).

%% The server on which all linked servers agree as the one that serialises what must be serialised.
-spec get_leader(server()) -> pid().
get_leader(Server) ->
    ferrets_address:call(Server, leader).

%% Answers when the server has handled everything that was sent to it before.
-spec ping(server()) -> pong.
ping(Server) ->
    ferrets_address:call(Server, ping).

%% Returns when all writes in flight from the server are applied by all its peers; names those that were lost meanwhile.
-spec ping_all(server()) -> ok | {error, [{pid(), Reason :: term()}]}.
ping_all(Server) ->
    Pid = ferrets_address:pid_or_error(Server),
    Peers = other_pids(Pid),
    case wait_response(ferrets_request:send(Pid, barrier), infinity) of
        {reply, ok} -> ping_peers(Peers);
        {error, {Reason, _}} -> exit({Reason, {gen_server, call, [Pid, ping_all]}})
    end.

-spec ping_peers([pid()]) -> ok | {error, [{pid(), term()}]}.
ping_peers(Peers) ->
    Answers = wait_responses([ferrets_request:send(Peer, ping) || Peer <- Peers], infinity),
    case [{Peer, Reason} || {Peer, {error, {Reason, _}}} <- lists:zip(Peers, Answers)] of
        [] -> ok;
        Lost -> {error, Lost}
    end.

%% For tests: has a server take itself for the leader, or not, whatever the others think.
-spec set_leader(server(), boolean()) -> ok.
set_leader(Server, IsLeader) when is_boolean(IsLeader) ->
    ferrets_address:call(Server, {set_leader, IsLeader}).

%% Until `unpause/2', or until the caller ends, writes of all callers through this server wait; they are then done in their
%% order. Peers' writes are applied as ever. Several may pause at once.
-spec pause(server()) -> reference().
pause(Server) ->
    ferrets_address:call(Server, pause).

-spec unpause(server(), reference()) -> ok | {error, unknown_pause_monitor}.
unpause(Server, Pause) ->
    ferrets_address:call(Server, {unpause, Pause}).

%% One number for all records and their versions: equal on two nodes exactly when they hold the same.
-spec digest(server()) -> non_neg_integer().
digest(Server) ->
    ferrets_address:call(Server, digest).

%% Compares digests with all linked peers: `ok' is proof that they held the same records. Tries for about a second, as
%% writes that are on their way make digests differ; copies nothing, sends one small message to each peer and back.
-spec verify(server()) -> ok | {error, [{node(), ferrets_verify:difference()}]}.
verify(Server) ->
    ferrets_verify:verify(Server).

%% Compares with all linked peers now, and exchanges what differs. Nobody has to do that: it happens by itself.
-spec sync(server()) -> ok.
sync(Server) ->
    ferrets_verify:sync(Server).
