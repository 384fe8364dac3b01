%%% Real nodes for tests: separate operating system processes that can be cut apart, healed and killed.
%%%
%%% They are controlled over their standard input and output, so that what happens to distribution does not happen to
%%% the control of the test, and the test's own node need not be distributed.
-module(ferrets_test_cluster).

-export([init_suite/2, end_suite/1, end_testcase/2, cluster/1, dumps/2]).
-export([start/1, start/2, start_at/2, stop/1, kill/1, freeze/1, thaw/1, restart/1]).
-compile({no_auto_import, [node/1, spawn/2]}).

-export([node/1, call/4, call/2, spawn/2, server/2]).
-export([start_table/2, start_table/3, join/3, start_joined/2, start_joined/3]).
-export([cut/2, heal/2, wait_until/1]).

-export_type([peer/0]).

-opaque peer() :: #{control := pid(), node := node(), os_pid := string(), options := peer:start_options()}.

-define(TIMEOUT_MS, 120_000).

%% For suites whose tests share a cluster: each test may have a table of its own name on every node.
-spec init_suite(pos_integer(), Config) -> Config when Config :: [{atom(), term()}].
init_suite(Count, Config) ->
    [{cluster, start(Count)} | Config].

-spec end_suite([{atom(), term()}]) -> ok.
end_suite(Config) ->
    stop(cluster(Config)).

-spec end_testcase(atom(), [{atom(), term()}]) -> ok.
end_testcase(Case, Config) ->
    [call(Peer, fun() -> whereis(Case) =:= undefined orelse ferrets:stop(Case) end) || Peer <- cluster(Config)],
    ok.

-spec cluster([{atom(), term()}]) -> [peer()].
cluster(Config) ->
    proplists:get_value(cluster, Config).

%% What the table holds on each node.
-spec dumps([peer()], atom()) -> [[tuple()]].
dumps(Peers, Tab) ->
    [call(Peer, ferrets, dump, [Tab]) || Peer <- Peers].

-spec start(pos_integer()) -> [peer()].
start(Count) ->
    start(Count, []).

%% Starts that many nodes, at once, with further arguments for `erl'. They share a cookie and know nothing of each other.
-spec start(pos_integer(), [string()]) -> [peer()].
start(Count, Arguments) ->
    start_at([#{name => peer:random_name(ferrets)} || _ <- lists:seq(1, Count)], Arguments).

%% The same, of which each is started with options of its own for `peer'.
-spec start_at([peer:start_options()], [string()]) -> [peer()].
start_at(ListOfOptions, Arguments) ->
    Cookie = "ferrets" ++ integer_to_list(erlang:unique_integer([positive])),
    Options = #{
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        wait_boot => {self(), booted},
        args => ["-setcookie", Cookie, "-pa" | code:get_path()] ++ ["-kernel", "logger_level", "emergency" | Arguments]
    },
    start_all([maps:merge(Options, Own) || Own <- ListOfOptions]).

start_all(ListOfOptions) ->
    [await_boot(Booting) || Booting <- [start_one(Options) || Options <- ListOfOptions]].

start_one(Options) ->
    {ok, Control, _Node} = peer:start(Options),
    {Control, Options}.

await_boot({Control, Options}) ->
    receive
        {booted, {started, Node, Control}} ->
            #{control => Control, node => Node, os_pid => peer:call(Control, os, getpid, []), options => Options};
        {booted, {boot_failed, Reason, Control}} ->
            error({boot_failed, Reason})
    after ?TIMEOUT_MS -> error(boot_timeout)
    end.

-spec stop([peer()]) -> ok.
stop(Peers) ->
    lists:foreach(fun(#{control := Control}) -> catch peer:stop(Control) end, Peers).

%% Starts a node that was stopped or killed once more, under its name.
-spec restart(peer()) -> peer().
restart(#{control := Control, options := Options}) ->
    catch peer:stop(Control),
    [Peer] = start_all([Options#{wait_boot => {self(), booted}}]),
    Peer.

%% A node that is there, and does nothing until `thaw/1'.
-spec freeze(peer()) -> ok.
freeze(#{os_pid := OsPid}) ->
    [] = os:cmd("kill -STOP " ++ OsPid),
    ok.

-spec thaw(peer()) -> ok.
thaw(#{os_pid := OsPid}) ->
    [] = os:cmd("kill -CONT " ++ OsPid),
    ok.

%% kill -9: no chance to say good-bye.
-spec kill(peer()) -> ok.
kill(#{os_pid := OsPid}) ->
    [] = os:cmd("kill -KILL " ++ OsPid),
    ok.

-spec node(peer()) -> node().
node(#{node := Node}) -> Node.

-spec call(peer(), module(), atom(), [term()]) -> term().
call(#{control := Control}, Module, Function, Arguments) ->
    peer:call(Control, Module, Function, Arguments, ?TIMEOUT_MS).

-spec call(peer(), fun(() -> Result)) -> Result.
call(Peer, Fun) ->
    call(Peer, erlang, apply, [Fun, []]).

%% Starts a process on a node; what it returns is had by calling the result.
-spec spawn(peer(), fun(() -> Result)) -> fun(() -> Result).
spawn(Peer, Fun) ->
    Self = self(),
    Ref = make_ref(),
    {Pid, Monitor} = spawn_monitor(fun() -> Self ! {Ref, call(Peer, Fun)} end),
    fun() ->
        receive
            {Ref, Result} ->
                demonitor(Monitor, [flush]),
                Result;
            {'DOWN', Monitor, process, Pid, Reason} ->
                error(Reason)
        end
    end.

-spec server(peer(), atom()) -> pid() | undefined.
server(Peer, Tab) ->
    call(Peer, erlang, whereis, [Tab]).

-spec start_table([peer()], atom()) -> [pid()].
start_table(Peers, Tab) ->
    start_table(Peers, Tab, #{}).

-spec start_table([peer()], atom(), ferrets:options()) -> [pid()].
start_table(Peers, Tab, Options) ->
    [
        begin
            {ok, Pid} = call(Peer, ferrets, start, [Tab, Options]),
            Pid
        end
     || Peer <- Peers
    ].

-spec join(atom(), peer(), peer()) -> ok | {error, ferrets_join:error()}.
join(Tab, A, B) ->
    call(A, ferrets_join, join, [lock, #{table => Tab}, server(A, Tab), server(B, Tab)]).

-spec start_joined([peer()], atom()) -> [pid()].
start_joined(Peers, Tab) ->
    start_joined(Peers, Tab, #{}).

%% A table on each node, all joined.
-spec start_joined([peer()], atom(), ferrets:options()) -> [pid()].
start_joined([First | Others] = Peers, Tab, Options) ->
    Pids = start_table(Peers, Tab, Options),
    [ok = join(Tab, Other, First) || Other <- Others],
    Pids.

%% Cuts every node of one side off from every node of the other, until `heal/2': each takes the other's cookie for
%% another one, and not the same.
-spec cut([peer()], [peer()]) -> ok.
cut(As, Bs) ->
    [call(A, erlang, set_cookie, [node(B), node(A)]) || {A, B} <- both_ways(As, Bs)],
    [call(A, erlang, disconnect_node, [node(B)]) || {A, B} <- both_ways(As, Bs)],
    wait_until(fun() ->
        lists:all(fun({A, B}) -> not lists:member(node(B), call(A, erlang, nodes, [])) end, both_ways(As, Bs))
    end).

%% Lets them connect again. Tables are to be joined again.
-spec heal([peer()], [peer()]) -> ok.
heal(As, Bs) ->
    [call(A, erlang, set_cookie, [node(B), call(A, erlang, get_cookie, [])]) || {A, B} <- both_ways(As, Bs)],
    wait_until(fun() ->
        lists:all(fun({A, B}) -> call(A, net_adm, ping, [node(B)]) =:= pong end, both_ways(As, Bs))
    end).

both_ways(As, Bs) ->
    lists:usort([Pair || A <- As, B <- Bs, A =/= B, Pair <- [{A, B}, {B, A}]]).

%% Waits until something holds; not longer than half a minute.
-spec wait_until(fun(() -> boolean())) -> ok.
wait_until(Holds) ->
    wait_until(Holds, erlang:monotonic_time(millisecond) + 30_000).

wait_until(Holds, Deadline) ->
    case Holds() of
        true ->
            ok;
        false ->
            erlang:monotonic_time(millisecond) < Deadline orelse error(still_does_not_hold),
            receive after 10 -> wait_until(Holds, Deadline) end
    end.
