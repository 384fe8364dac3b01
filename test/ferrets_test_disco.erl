%%% What suites that test discovery have in common: nodes with tables and discovery, in a hurry.
-module(ferrets_test_disco).

-export([with_nodes/2, with_nodes/3, start/3, start_disco/2, options/1, write_file/2, write_file/3, path/1]).
-export([is_meshed/2, await_mesh/2, await_ready/1, system_info/1]).

-import(ferrets_test_cluster, [call/2, call/4, node/1, server/2, wait_until/1]).

-compile({no_auto_import, [node/1]}).

-spec with_nodes(pos_integer(), fun(([ferrets_test_cluster:peer()]) -> Result)) -> Result.
with_nodes(Count, Test) ->
    with_nodes(Count, [], Test).

with_nodes(Count, Arguments, Test) ->
    Peers = ferrets_test_cluster:start(Count, ["+sbwt", "none" | Arguments]),
    try
        [ok = call(Peer, ferrets_test_log, start, []) || Peer <- Peers],
        Test(Peers)
    after
        ferrets_test_cluster:stop(Peers)
    end.

%% Tables and discovery on these nodes.
start(Peers, Tables, Options) ->
    [ferrets_test_cluster:start_table(Peers, Tab) || Tab <- Tables],
    [start_disco(Peer, Options#{tables => Tables}) || Peer <- Peers],
    ok.

start_disco(Peer, Options) ->
    {ok, Pid} = call(Peer, ferrets_discovery, start, [options(Options)]),
    Pid.

%% Intervals a hundred times shorter than those for grown-ups.
options(Options) ->
    maps:merge(
        #{
            name => disco,
            ping_timeout => 1_000,
            retry_intervals => #{initial => 100, after_error => 50, after_nodedown => 100, regular => 200}
        },
        Options
    ).

path(Config) ->
    filename:join(proplists:get_value(priv_dir, Config), "nodes" ++ integer_to_list(erlang:unique_integer([positive]))).

%% Whole or not at all, as a file for discovery should be.
write_file(Path, Peers) ->
    write_file(Path, Peers, "\n").

write_file(Path, Peers, End) ->
    ok = file:write_file(Path ++ ".new", [[atom_to_list(node(Peer)), End] || Peer <- Peers]),
    ok = file:rename(Path ++ ".new", Path).

await_ready(Peers) ->
    [ok = call(Peer, ferrets_discovery, wait_for_ready, [disco, 60_000]) || Peer <- Peers],
    ok.

is_meshed(Peers, Tab) ->
    Pids = [server(Peer, Tab) || Peer <- Peers],
    lists:all(
        fun({Peer, Pid}) -> call(Peer, ferrets, other_pids, [Tab]) =:= lists:sort(Pids -- [Pid]) end,
        lists:zip(Peers, Pids)
    ).

%% Linked with one another, and equal.
await_mesh(Peers, Tab) ->
    wait_until(fun() -> is_meshed(Peers, Tab) end),
    wait_until(fun() -> [ok] =:= lists:usort([call(Peer, ferrets, verify, [Tab]) || Peer <- Peers]) end).

system_info(Peer) ->
    call(Peer, ferrets_discovery, system_info, [disco]).
