%%% Joins two clusters into one.
%%%
%%% A join surveys who is linked to whom on both sides, has every pair that is to be linked check that it can reach each
%%% other, has every such pair linked, and waits until each has synced. It then surveys again, and goes on until nothing
%%% is missing, because other joins may have brought further servers meanwhile.
%%%
%%% The leaders of the two sides are linked first, so that only one of them is left when others meet: it alone has conflicts
%%% decided (`handle_conflict'), and each one once.
%%%
%%% It holds no lock and blocks nobody: links are symmetric and idempotent, so any number of joins can run at once. Of
%%% joins that overlap, the one that surveys last sees what the others have linked, and closes the gaps between them.
%%%
%%% Not a supervisor of links: one that goes down later comes back by another join, which is what `ferrets_discovery' is for.
%%%
%%% Guarantee: after `ok' all servers of both sides were linked with one another, and each pair had the same data. After
%%% `check_could_reach_each_other_failed' nothing has changed. If a server dies, those that are left end all linked, or the two
%%% sides are apart as before: the leaders are linked first, and then all pairs are told to link at once, which they do whatever
%%% becomes of the others and of the join. Only if the node that joins dies between these two, the leaders may be linked and
%%% others not; they replicate as linked pairs do, and joining again completes the mesh.
%%%
%%%     1> Remote = erpc:call('b@host', erlang, whereis, [sessions]).
%%%     2> ferrets_join:join(lock, #{table => sessions}, whereis(sessions), Remote).
%%%     ok
-module(ferrets_join).

-export([join/4, join/5]).
%% Called on the members' nodes.
-export([find_unreachable/1]).

-export_type([error/0, failure/0, checkpoint/0, options/0]).

-include_lib("kernel/include/logger.hrl").

%% How long members may take to say whom they are linked to, and whether they reach each other.
-define(CHECK_MS, 30_000).

-type error() :: already_joined | join_with_the_same_pid | {task_failed, failure(), Info :: map()}.
-type failure() ::
    %% `unreachable' in the info lists `{FromNode, Pid, Reason}'.
    check_could_reach_each_other_failed
    %% A server ended, or was lost, with this reason. `pid' is in the info.
    | {server_down, term()}
    %% A link went down before it was in sync. The pair is in the info.
    | {link_down, atom()}
    %% The tables do not fit: other options, or another version of the protocol. The pair is in the info.
    | {refused, atom()}
    | {join_crashed, term()}.

%% Where a join has come to. `surveyed': it knows who is to be linked; `reached': every pair can reach each other;
%% `leaders_linked'; `linked': every pair is in sync; `confirmed': on both ends. From `surveyed' on it may begin again.
-type checkpoint() :: started | surveyed | reached | leaders_linked | linked | confirmed.
%% The handler is called in the join's process, which waits for it. For tests.
-type options() :: #{checkpoint_handler => fun((checkpoint()) -> term())}.

%% For each server, its peers and how far the links to them are.
-type survey() :: #{pid() => #{pid() => ferrets_peers:state()}}.
-type pair() :: {pid(), pid()}.
-type lost() :: {AskingNode :: node(), pid(), Reason :: term()}.

%% Joins the clusters of two servers, which may have other names on their nodes, or be on one node.
%%
%% `LockKey' says which joins cets would run one at a time; here it has no effect. `Info' goes into the log and into
%% errors. Takes as long as the data takes to be exchanged. The work is done in a process of its own: nothing stray comes
%% to the caller's mailbox, and a caller that dies leaves no half of a join.
-spec join(LockKey :: term(), Info :: map(), LocalPid :: pid(), RemotePid :: pid()) -> ok | {error, error()}.
join(LockKey, Info, LocalPid, RemotePid) ->
    join(LockKey, Info, LocalPid, RemotePid, #{}).

-spec join(LockKey :: term(), Info :: map(), LocalPid :: pid(), RemotePid :: pid(), options()) -> ok | {error, error()}.
join(_LockKey, Info, Pid, Pid, Options) when is_map(Info), is_pid(Pid), is_map(Options) ->
    {error, join_with_the_same_pid};
join(_LockKey, Info, LocalPid, RemotePid, Options) when
    is_map(Info), is_pid(LocalPid), is_pid(RemotePid), is_map(Options)
->
    Info1 = Info#{local_pid => LocalPid, remote_pid => RemotePid, remote_node => node(RemotePid)},
    Pass = maps:get(checkpoint_handler, Options, fun(_Checkpoint) -> ok end),
    {Joiner, Monitor} = spawn_monitor(fun() -> exit({joined, run(Info1, Pass)}) end),
    receive
        {'DOWN', Monitor, process, Joiner, {joined, Result}} -> Result;
        {'DOWN', Monitor, process, Joiner, Reason} -> {error, {task_failed, {join_crashed, Reason}, Info1}}
    end.

-spec run(map(), fun((checkpoint()) -> term())) -> ok | {error, error()}.
run(Info, Pass) ->
    ?LOG_INFO(Info#{what => ferrets_join_started}),
    Start = erlang:monotonic_time(millisecond),
    Result =
        try
            join_members(maps:with([local_pid, remote_pid], Info), Pass)
        catch
            throw:{failed, Failure, Evidence} ->
                {error, {task_failed, Failure, maps:merge(Info, Evidence)}}
        end,
    TimeMs = erlang:monotonic_time(millisecond) - Start,
    log_result(Result, Info#{time_ms => TimeMs}),
    Result.

-spec log_result(ok | {error, error()}, map()) -> ok.
log_result(ok, Info) ->
    ?LOG_INFO(Info#{what => ferrets_join_done});
log_result({error, already_joined}, Info) ->
    ?LOG_INFO(Info#{what => ferrets_join_not_needed});
log_result({error, {task_failed, Failure, Evidence}}, Info) ->
    ?LOG_ERROR((maps:merge(Evidence, Info))#{what => ferrets_join_failed, reason => Failure}).

-spec join_members(#{local_pid := pid(), remote_pid := pid()}, fun((checkpoint()) -> term())) ->
    ok | {error, already_joined}.
join_members(#{local_pid := LocalPid, remote_pid := RemotePid}, Pass) ->
    _ = Pass(started),
    case missing(survey([LocalPid, RemotePid])) of
        [] -> {error, already_joined};
        Pairs -> join_pairs(Pairs, [LocalPid, RemotePid], Pass)
    end.

-spec join_pairs([pair()], [pid()], fun((checkpoint()) -> term())) -> ok.
join_pairs([], _Sides, _Pass) ->
    ok;
join_pairs(Pairs, Sides, Pass) ->
    _ = Pass(surveyed),
    check_reach(Pairs),
    _ = Pass(reached),
    link_pairs(leaders_of(Sides, Pairs)),
    _ = Pass(leaders_linked),
    link_pairs(Pairs),
    _ = Pass(linked),
    %% A second time from the other end, which is nearly always there already: `ok' is to mean that both know.
    link_pairs([{B, A} || {A, B} <- Pairs]),
    _ = Pass(confirmed),
    join_pairs(missing(survey(Sides)), Sides, Pass).

%% The pair of the two sides' leaders, if it is to be linked.
-spec leaders_of([pid()], [pair()]) -> [pair()].
leaders_of(Sides, Pairs) ->
    Leaders = lists:usort([Leader || {reply, Leader} <- ask(Sides, leader)]),
    [{A, B} || {A, B} <- Pairs, lists:usort([A, B]) =:= Leaders].

-spec fail(failure(), map()) -> no_return().
fail(Failure, Evidence) ->
    throw({failed, Failure, Evidence}).

%% ---------------------------------------------------------------- who is linked to whom

%% All servers that can be found from these along links that are up.
-spec survey([pid()]) -> survey().
survey(Pids) ->
    survey(Pids, #{}).

-spec survey([pid()], survey()) -> survey().
survey([], Survey) ->
    Survey;
survey(Pids, Survey) ->
    Answers = lists:zip(Pids, ask(Pids, links)),
    fail_if_lost([{node(), Pid, reason(Answer)} || {Pid, Answer} <- Answers, not is_reply(Answer)]),
    Links = maps:from_list([{Pid, Peers} || {Pid, {reply, Peers}} <- Answers]),
    Found = [Peer || Peers <- maps:values(Links), {Peer, State} <- maps:to_list(Peers), State =/= closed],
    Survey1 = maps:merge(Survey, Links),
    survey(lists:usort(Found) -- maps:keys(Survey1), Survey1).

-spec ask([pid()], term()) -> [ferrets_request:answer(term())].
ask(Pids, Question) ->
    ferrets_request:wait_all([ferrets_request:send(Pid, Question) || Pid <- Pids], ?CHECK_MS).

-spec is_reply(ferrets_request:answer(term())) -> boolean().
is_reply({reply, _}) -> true;
is_reply(_) -> false.

-spec reason(timeout | {error, {term(), term()}}) -> term().
reason(timeout) -> timeout;
reason({error, {Reason, _Server}}) -> Reason.

%% The pairs that are not in sync on both ends.
-spec missing(survey()) -> [pair()].
missing(Survey) ->
    Pids = maps:keys(Survey),
    [{A, B} || A <- Pids, B <- Pids, A < B, not (is_synced(A, B, Survey) andalso is_synced(B, A, Survey))].

-spec is_synced(pid(), pid(), survey()) -> boolean().
is_synced(A, B, Survey) ->
    case Survey of
        #{A := #{B := synced}} -> true;
        #{} -> false
    end.

%% ---------------------------------------------------------------- reachability

%% Asks the node of the first of each pair whether it reaches the second, all nodes at once.
-spec check_reach([pair()]) -> ok.
check_reach(Pairs) ->
    ByNode = maps:groups_from_list(fun({A, _B}) -> node(A) end, fun({_A, B}) -> B end, Pairs),
    Requests = [
        {Node, Pids, erpc:send_request(Node, ?MODULE, find_unreachable, [Pids])}
     || {Node, Pids} <- maps:to_list(ByNode)
    ],
    fail_if_lost(lists:flatmap(fun receive_unreachable/1, Requests)).

%% Runs on a member's node, in a process of its own: no server waits for another.
-spec find_unreachable([pid()]) -> [lost()].
find_unreachable(Pids) ->
    Unique = lists:usort(Pids),
    Answers = lists:zip(Unique, ask(Unique, ping)),
    [{node(), Pid, reason(Answer)} || {Pid, Answer} <- Answers, not is_reply(Answer)].

-spec receive_unreachable({node(), [pid()], erpc:request_id()}) -> [lost()].
receive_unreachable({Node, Pids, Request}) ->
    try
        %% The node gives an answer after `?CHECK_MS' at the latest, if it is there.
        erpc:receive_response(Request, 2 * ?CHECK_MS)
    catch
        error:{erpc, Reason} -> [{Node, Pid, Reason} || Pid <- Pids]
    end.

%% A server that has ended is one thing, a server that cannot be reached another.
-spec fail_if_lost([lost()]) -> ok.
fail_if_lost([]) ->
    ok;
fail_if_lost(Lost) ->
    case [{Pid, Reason} || {_, Pid, Reason} <- Lost, Reason =/= noconnection, Reason =/= timeout] of
        [] -> fail(check_could_reach_each_other_failed, #{unreachable => Lost});
        [{Pid, Reason} | _] -> fail({server_down, Reason}, #{pid => Pid})
    end.

%% ---------------------------------------------------------------- linking

%% Has the first of each pair link to the second, all pairs at once, and waits until each pair is in sync. There is no
%% time limit, since data has no size limit: a server that ends, a link that breaks and a peer that refuses all answer.
-spec link_pairs([pair()]) -> ok.
link_pairs(Pairs) ->
    Requests = [ferrets_request:send(A, {link, B}) || {A, B} <- Pairs],
    lists:foreach(fun check_linked/1, lists:zip(Pairs, ferrets_request:wait_all(Requests, infinity))).

-spec check_linked({pair(), ferrets_request:answer(term())}) -> ok.
check_linked({_Pair, {reply, ok}}) ->
    ok;
check_linked({{_, B} = Pair, {reply, {error, {server_down, _} = Failure}}}) ->
    fail(Failure, #{pid => B, pair => Pair});
check_linked({Pair, {reply, {error, Failure}}}) ->
    fail(Failure, #{pair => Pair});
check_linked({{A, _} = Pair, {error, {Reason, _Server}}}) ->
    fail({server_down, Reason}, #{pid => A, pair => Pair}).
