%%% The demo: one table on three real nodes, and what goes wrong between nodes, one thing after the other.
%%%
%%% It uses nothing but the public calls of `ferrets' and `ferrets_join'. What it says it has checked: each claim compares
%%% what the nodes really hold.
-module(ferrets_demo).

-export([main/0]).

-import(ferrets_demo_teller, [title/1, chapter/1, say/2, claim/3, number/1]).
-import(ferrets_demo_node, [call/4, name/1]).

-define(SESSION, ferrets_demo_session).
-define(LOAD, ferrets_demo_load).

%% Sessions on each node.
-define(USERS, 5_000).
%% Rows on each node that are written to without pause while things go wrong.
-define(BUSY, 1_000).
%% How long replicas may take to agree once nothing is in their way.
-define(AGREE_MS, 10_000).

-spec main() -> no_return().
main() ->
    %% A node that is killed takes its controlling process with it.
    process_flag(trap_exit, true),
    ok = ferrets_demo_teller:begin_story(),
    try story() of
        ok ->
            case ferrets_demo_teller:verdict() of
                true -> halt(0);
                false -> halt(1)
            end
    catch
        Class:Reason:Stack ->
            io:format("~nThe demo broke off: ~p~n(the nodes' logs are in _build/demo)~n", [{Class, Reason, Stack}]),
            halt(1)
    end.

-spec story() -> ok.
story() ->
    title("Ferrets: one table on three nodes. Every node holds all of it, reads are local, writes reach everybody."),
    ok = ferrets_demo_node:start_epmd(),
    Nodes = [Amber, Birch, Cedar] = [start(Label) || Label <- [amber, birch, cedar]],
    say("Three nodes are up: amber, birch and cedar, operating system processes ~s, ~s and ~s.",
        [ferrets_demo_node:os_pid(Node) || Node <- Nodes]),
    ok = one_table(Nodes),
    ok = kill(Nodes),
    NewCedar = come_back(Amber, Birch, name(Cedar)),
    ok = split(Amber, Birch, NewCedar),
    lists:foreach(fun ferrets_demo_node:stop/1, [Amber, Birch, NewCedar]).

-spec start(atom()) -> ferrets_demo_node:demo_node().
start(Label) ->
    Node = ferrets_demo_node:start(Label),
    ok = call(Node, ?SESSION, start_table, []),
    Node.

%% ---------------------------------------------------------------- 1

one_table(Nodes = [Amber, Birch, Cedar]) ->
    chapter("1. Three tables become one"),
    Early = ?USERS div 2,
    in_parallel([fun() -> call(Node, ?SESSION, log_in, [users(Node, 0, Early), #{}]) end || Node <- Nodes]),
    say("Each node has a table of its own. ~s users have come online on each node: a process and a row for each.",
        [number(Early)]),
    say("The tables hold ~s, ~s and ~s rows.", rows(Nodes)),
    {JoinMs, ok} = timed(fun() -> ok = join(Birch, Amber), join(Cedar, Amber) end),
    say("birch joins amber, then cedar does: ferrets_join:join/4, ~b ms for both.", [JoinMs]),
    agree(Nodes, 3 * Early),

    AllUsers = lists:append([users(Node, 0, ?USERS) || Node <- Nodes]),
    Readers = [{Node, call(Node, ?LOAD, start_reader, [AllUsers])} || Node <- Nodes],
    {LoginMs, _} = timed(fun() ->
        in_parallel([
            fun() -> call(Node, ?SESSION, log_in, [users(Node, Early, ?USERS - Early), #{}]) end
         || Node <- Nodes
        ])
    end),
    Reads = [call(Node, ?LOAD, stop_reader, [Reader]) || {Node, Reader} <- Readers],
    say("~s more users come online on each node, all at once: ~s writes in ~b ms, each on all three nodes when its "
        "session goes on.",
        [number(?USERS - Early), number(3 * (?USERS - Early)), LoginMs]),
    say("Meanwhile the nodes looked up each other's users, ~s times.", [number(lists:sum([N || {N, _} <- Reads]))]),
    agree(Nodes, 3 * ?USERS),

    %% Each node asks the users of the next one.
    Asked = 1_000,
    Answers = [
        call(Asker, ?SESSION, ask, [users(Owner, 0, Asked)])
     || {Asker, Owner} <- [{Amber, Birch}, {Birch, Cedar}, {Cedar, Amber}]
    ],
    claim(lists:sum(Answers) =:= 3 * Asked,
        "Each node sent ~s messages to pids that it found in its table, of processes on another node: ~s answered.",
        [number(Asked), number(lists:sum(Answers))]).

%% ---------------------------------------------------------------- 2

kill(Nodes = [Amber, Birch, Cedar]) ->
    chapter("2. A node is killed while everybody writes"),
    Ledger = call(Amber, ?LOAD, start_ledger, []),
    [OnAmber, OnBirch, _] = [call(Node, ?LOAD, start_writers, [busy(Node), Ledger]) || Node <- Nodes],
    timer:sleep(1_000),
    Before = call(Amber, ?LOAD, ledger_count, [Ledger]),
    ok = ferrets_demo_node:kill(Cedar),
    say("kill -9 ~s: cedar is gone in the middle of its writes. ~s writes had been acknowledged.",
        [ferrets_demo_node:os_pid(Cedar), number(Before)]),
    timer:sleep(1_000),
    Longest = lists:max([
        call(Node, ?LOAD, stop_writers, [Writers])
     || {Node, Writers} <- [{Amber, OnAmber}, {Birch, OnBirch}]
    ]),
    After = call(Amber, ?LOAD, ledger_count, [Ledger]),
    claim(After > Before, "amber and birch went on: ~s more writes within a second; the longest that one waited: ~.1f ms.",
        [number(After - Before), Longest]),

    Entries = call(Amber, ?LOAD, ledger_entries, [Ledger]),
    Missing = [call(Node, ?LOAD, count_missing, [Entries]) || Node <- [Amber, Birch]],
    claim(Missing =:= [0, 0], "Of ~s acknowledged writes to ~s rows, those by cedar included, amber lost ~b and birch ~b.",
        [number(After), number(map_size(Entries))] ++ Missing),
    agree([Amber, Birch], 3 * ?USERS),

    Gone = name(Cedar),
    Told = until(fun() -> [call(Node, ?SESSION, downs, []) || Node <- [Amber, Birch]] end, fun
        ([[{G1, L1}], [{G2, L2}]]) -> G1 =:= Gone andalso G2 =:= Gone andalso L1 xor L2;
        (_) -> false
    end),
    claim(element(1, Told), "Both were told once that cedar is gone (handle_down), one of them as the leader.", []),
    Removed = call(leader(Amber, Birch), ?SESSION, remove_sessions_of, [Gone]),
    say("The leader removes the sessions that ran on cedar: ~s rows.", [number(Removed)]),
    agree([Amber, Birch], 2 * ?USERS).

-spec leader(ferrets_demo_node:demo_node(), ferrets_demo_node:demo_node()) -> ferrets_demo_node:demo_node().
leader(Amber, Birch) ->
    case call(Amber, ?SESSION, downs, []) of
        [{_, true} | _] -> Amber;
        _ -> Birch
    end.

%% ---------------------------------------------------------------- 3

come_back(Amber, Birch, OldName) ->
    chapter("3. It comes back with nothing, and is filled"),
    Cedar = start(cedar),
    OldName = name(Cedar),
    say("cedar is started again, as process ~s, under its old name. Its table holds ~s rows.",
        [ferrets_demo_node:os_pid(Cedar) | rows([Cedar])]),
    Ledger = call(Amber, ?LOAD, start_ledger, []),
    Writers = [{Node, call(Node, ?LOAD, start_writers, [busy(Node), Ledger])} || Node <- [Amber, Birch]],
    {Ms, ok} = timed(fun() -> join(Cedar, Amber) end),
    Longest = lists:max([call(Node, ?LOAD, stop_writers, [Pids]) || {Node, Pids} <- Writers]),
    say("It joins while amber and birch write without pause: filled after ~b ms.", [Ms]),
    say("The longest that a write waited meanwhile: ~.1f ms.", [Longest]),
    agree([Amber, Birch, Cedar], 2 * ?USERS),
    _ = call(Cedar, ?SESSION, log_in, [users(Cedar, 0, ?USERS), #{}]),
    say("Its ~s users log in again.", [number(?USERS)]),
    agree([Amber, Birch, Cedar], 3 * ?USERS),
    Cedar.

%% ---------------------------------------------------------------- 4

split(Amber, Birch, Cedar) ->
    chapter("4. The network is cut: amber and birch here, cedar there. Both sides go on"),
    Left = [Amber, Birch],
    ok = ferrets_demo_node:cut(Left, [Cedar]),
    Apart = [[], [], []] =:=
        [call(Node, erlang, nodes, []) -- [name(N) || N <- Side] || {Node, Side} <- [{Amber, Left}, {Birch, Left}, {Cedar, []}]],
    Refused = [pang, pang, pang] =:=
        [call(From, net_adm, ping, [name(To)]) || {From, To} <- [{Amber, Cedar}, {Birch, Cedar}, {Cedar, Amber}]],
    claim(Apart andalso Refused, "Neither side can reach the other, and new connections are refused.", []),

    %% Part of each side's users, in the order of their numbers.
    Part = 500,
    OldHere = users(Amber, ?BUSY, Part),
    OldThere = users(Cedar, ?BUSY, Part),
    DeletedHere = users(Cedar, ?BUSY + Part, Part),
    DeletedThere = users(Amber, ?BUSY + Part, Part),
    Returned = lists:sublist(DeletedHere, 100),
    NewHere = users(Amber, ?USERS, Part),
    NewThere = users(Cedar, ?USERS, Part),

    in_parallel([
        fun() -> call(Amber, ?SESSION, log_in, [NewHere, #{side => here}]) end,
        fun() -> call(Cedar, ?SESSION, log_in, [NewThere, #{side => there}]) end
    ]),
    say("~b new users log in on each side.", [Part]),
    _ = call(Birch, ?SESSION, log_out, [DeletedHere]),
    _ = call(Cedar, ?SESSION, log_out, [DeletedThere]),
    say("~b users log out here, ~b others there: the other side does not hear of it.", [Part, Part]),
    in_turn([
        fun() -> call(Amber, ?SESSION, log_in, [OldHere, #{side => here}]) end,
        fun() -> call(Cedar, ?SESSION, log_in, [OldThere, #{side => there}]) end,
        fun() -> call(Amber, ?SESSION, log_in, [OldThere, #{side => here}]) end,
        fun() -> call(Cedar, ?SESSION, log_in, [OldHere, #{side => there}]) end
    ]),
    say("~s users log in on both sides: ~b first here and then there, ~b the other way round.",
        [number(2 * Part), Part, Part]),
    in_turn([fun() -> call(Cedar, ?SESSION, log_in, [Returned, #{side => returned}]) end]),
    say("~b of those who logged out here log in there, later.", [length(Returned)]),
    claim(fingerprint(Amber) =:= fingerprint(Birch) andalso fingerprint(Amber) =/= fingerprint(Cedar),
        "The sides differ: amber and birch hold the same ~s rows, cedar holds ~s, and not those.", rows([Amber, Cedar])),

    chapter("5. The network heals"),
    ok = ferrets_demo_node:mend(Left, [Cedar]),
    {Ms, ok} = timed(fun() -> join(Cedar, Amber) end),
    say("cedar may connect again, and joins: ~b ms.", [Ms]),
    All = [Amber, Birch, Cedar],
    agree(All, 3 * ?USERS + 2 * Part - 2 * Part + length(Returned)),
    claim(everywhere(All, count_with_info, [NewHere, #{side => here}], Part) andalso
        everywhere(All, count_with_info, [NewThere, #{side => there}], Part),
        "Whoever logged in on one side is known everywhere.", []),
    claim(everywhere(All, count_with_info, [OldHere, #{side => there}], Part) andalso
        everywhere(All, count_with_info, [OldThere, #{side => here}], Part),
        "Of the ~s users with a row on both sides, the later one stands everywhere.", [number(2 * Part)]),
    claim(everywhere(All, count_present, [DeletedHere -- Returned], 0) andalso
        everywhere(All, count_present, [DeletedThere], 0),
        "Nobody who logged out during the split has come back from the other side.", []),
    claim(everywhere(All, count_with_info, [Returned, #{side => returned}], length(Returned)),
        "The ~b who logged in again afterwards are there: the newer write wins over the older deletion.",
        [length(Returned)]).

-spec everywhere([ferrets_demo_node:demo_node()], atom(), [term()], Expected :: non_neg_integer()) -> boolean().
everywhere(Nodes, Function, Args, Expected) ->
    lists:all(fun(Node) -> call(Node, ?SESSION, Function, Args) =:= Expected end, Nodes).

%% ---------------------------------------------------------------- parts of several chapters

%% Users that belong to a node, each node's numbers in a range of its own.
-spec users(ferrets_demo_node:demo_node(), non_neg_integer(), non_neg_integer()) -> [ferrets_demo_session:key()].
users(Node, From, Count) ->
    [Letter | _] = atom_to_list(name(Node)),
    ferrets_demo_session:users((Letter - $a) * 100_000 + From, Count).

-spec busy(ferrets_demo_node:demo_node()) -> [ferrets_demo_session:key()].
busy(Node) ->
    users(Node, 0, ?BUSY).

-spec join(ferrets_demo_node:demo_node(), ferrets_demo_node:demo_node()) -> ok | {error, term()}.
join(Node, Other) ->
    call(Node, ?SESSION, join, [call(Other, ?SESSION, table_pid, [])]).

-spec rows([ferrets_demo_node:demo_node()]) -> [string()].
rows(Nodes) ->
    [number(call(Node, ?SESSION, rows, [])) || Node <- Nodes].

-spec fingerprint(ferrets_demo_node:demo_node()) -> binary().
fingerprint(Node) ->
    call(Node, ?SESSION, fingerprint, []).

%% The nodes hold exactly so many rows, and the same ones.
-spec agree([ferrets_demo_node:demo_node()], non_neg_integer()) -> ok.
agree(Nodes, Rows) ->
    {Agree, States} = until(
        fun() -> [{call(Node, ?SESSION, rows, []), fingerprint(Node)} || Node <- Nodes] end,
        fun(States) -> [Rows] =:= lists:usort([Size || {Size, _} <- States]) andalso length(lists:usort(States)) =:= 1 end
    ),
    case {Agree, States} of
        {true, [{_, Fingerprint} | _]} ->
            claim(true, "~s hold the same ~s rows: sorted and hashed on each, they give ~s.",
                [count_word(Nodes), number(Rows), Fingerprint]);
        {false, _} ->
            claim(false, "~s should hold the same ~s rows, and hold ~p.", [count_word(Nodes), number(Rows), States])
    end.

-spec count_word([term()]) -> string().
count_word([_, _]) -> "Both";
count_word([_, _, _]) -> "All three".

%% Looks until it is as wanted, or for too long.
-spec until(fun(() -> State), fun((State) -> boolean())) -> {boolean(), State}.
until(Look, IsFine) ->
    until(Look, IsFine, erlang:monotonic_time(millisecond) + ?AGREE_MS).

-spec until(fun(() -> State), fun((State) -> boolean()), integer()) -> {boolean(), State}.
until(Look, IsFine, Deadline) ->
    State = Look(),
    case {IsFine(State), erlang:monotonic_time(millisecond) < Deadline} of
        {true, _} ->
            {true, State};
        {false, true} ->
            timer:sleep(20),
            until(Look, IsFine, Deadline);
        {false, false} ->
            {false, State}
    end.

-spec timed(fun(() -> Result)) -> {Ms :: non_neg_integer(), Result}.
timed(Fun) ->
    {Us, Result} = timer:tc(Fun),
    {Us div 1000, Result}.

-spec in_parallel([fun(() -> term())]) -> ok.
in_parallel(Funs) ->
    Monitors = [element(2, spawn_monitor(Fun)) || Fun <- Funs],
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, process, _, normal} -> ok;
                {'DOWN', Monitor, process, _, Reason} -> error(Reason)
            end
        end,
        Monitors
    ).

%% One after the other, far enough apart for clocks in milliseconds to tell.
-spec in_turn([fun(() -> term())]) -> ok.
in_turn(Funs) ->
    lists:foreach(fun(Fun) -> timer:sleep(5), Fun() end, Funs).
