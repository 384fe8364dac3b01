%%% Joins one table of this node with the same table of another, if there is one and it is not joined yet.
%%%
%%% Part of `ferrets_discovery', which runs it in a process made for it: it takes as long as the data takes. It asks the
%%% own server first, since most of what discovery tries again and again is joined already; each node's discovery sees to the
%%% pairs that it is part of, so together they see to all.
-module(ferrets_join_pair).

-export([run/1, result/2]).

-export_type([pair/0, found/0, result/0]).

%% How long a node or the own server may take to answer.
-define(TIMEOUT_MS, 5_000).

-type pair() :: {node(), ferrets:table()}.
-type found() :: {join_result, ok | {error, ferrets_join:error()}} | {pid_not_found, not_here | undefined | {erpc, term()}}.
-type result() :: #{
    node := node(),
    table := ferrets:table(),
    what := join_result | pid_not_found,
    result => ok | {error, ferrets_join:error()},
    %% Why no server was found: there is none there (`undefined'), or none here, or the node gave no answer, or the
    %% process that was to find out failed.
    reason => not_here | undefined | {erpc, term()} | ferrets_tasks:failure()
}.

-spec run(pair()) -> found().
run({Node, Tab}) ->
    case {whereis(Tab), find(Tab, Node)} of
        {undefined, _} -> {pid_not_found, not_here};
        {Local, {ok, Remote}} -> {join_result, join(Tab, Local, Remote)};
        {_, {error, Reason}} -> {pid_not_found, Reason}
    end.

-spec find(ferrets:table(), node()) -> {ok, pid()} | {error, undefined | {erpc, term()}}.
find(Tab, Node) ->
    try erpc:call(Node, erlang, whereis, [Tab], ?TIMEOUT_MS) of
        undefined -> {error, undefined};
        Pid -> {ok, Pid}
    catch
        error:{erpc, Reason} -> {error, {erpc, Reason}}
    end.

-spec join(ferrets:table(), pid(), pid()) -> ok | {error, ferrets_join:error()}.
join(Tab, Local, Remote) ->
    case ferrets_request:wait(ferrets_request:send(Local, links), ?TIMEOUT_MS) of
        {reply, #{Remote := synced}} -> {error, already_joined};
        _ -> ferrets_join:join(ferrets_discovery, #{table => Tab}, Local, Remote)
    end.

%% What came of the process in which `run/1' was called.
-spec result(pair(), ferrets_tasks:outcome()) -> result().
result({Node, Tab}, {ok, {join_result, Result}}) ->
    #{what => join_result, node => Node, table => Tab, result => Result};
result({Node, Tab}, {ok, {pid_not_found, Reason}}) ->
    #{what => pid_not_found, node => Node, table => Tab, reason => Reason};
result({Node, Tab}, {error, Failure}) ->
    #{what => pid_not_found, node => Node, table => Tab, reason => Failure}.
