%%% Dropping the records that one node of three wrote, against deleting them from an `ets' table by a pattern.
%%%
%%% Three nodes hold a third of the records each, and are joined. Then each of them drops what another one wrote, from its
%%% replica alone, and deletes the same records from an `ets' table that holds what the replica did. Records come into all tables in
%%% random order.
-module(ferrets_bench_owned).

-export([rows/0]).
%% Run inside the nodes.
-export([fill/3, join/1, copy/1, drop/2, server/0]).

-define(TAB, owned).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        #{
            name => drop_owned,
            what => "dropping the records of one node of three, {big}",
            against => "`ets:select_delete`",
            unit => ns,
            compare => speedup,
            must => 5,
            aim => 20,
            measure => fun(Settings, _) -> measure(Settings) end
        }
    ].

-spec measure(ferrets_bench_group:settings()) -> ferrets_bench_row:outcome().
measure(#{big := Size}) ->
    Nodes = [First | Others] = [ferrets_bench_node:start_named(Label) || Label <- [amber, birch, cedar]],
    Part = Size div 3,
    [
        ok = ferrets_bench_node:call(Node, ?MODULE, fill, [ferrets_bench_node:name(Node), N * Part, Part])
     || {N, Node} <- lists:zip([0, 1, 2], Nodes)
    ],
    Server = ferrets_bench_node:call(First, ?MODULE, server, []),
    [ok = ferrets_bench_node:call(Node, ?MODULE, join, [Server]) || Node <- Others],
    Pairs = lists:zip(Nodes, Others ++ [First]),
    Rounds = [drop_one(Node, ferrets_bench_node:name(Owner), Part) || {Node, Owner} <- Pairs],
    lists:foreach(fun ferrets_bench_node:stop/1, Nodes),
    {Ours, Theirs, Guarded} = lists:unzip3(Rounds),
    #{ours => Ours, others => [{"`ets`", Theirs}, {"`ets:select_delete`, the node in a guard", Guarded}]}.

-spec drop_one(ferrets_bench_node:bench_node(), node(), pos_integer()) -> {number(), number(), number()}.
drop_one(Node, Owner, Part) ->
    %% The copies come first: they are of all records.
    ok = ferrets_bench_node:call(Node, ?MODULE, copy, [pattern]),
    ok = ferrets_bench_node:call(Node, ?MODULE, copy, [guard]),
    [Owned, Pattern, Guard] = [
        begin
            {Ns, Part} = ferrets_bench_node:call(Node, ?MODULE, drop, [Way, Owner]),
            Ns
        end
     || Way <- [owned, pattern, guard]
    ],
    {Owned, Pattern, Guard}.

%% ---------------------------------------------------------------- inside the nodes

%% Without comparisons of digests during the measurement, which would bring back what was dropped here alone.
-spec fill(node(), First :: non_neg_integer(), Count :: pos_integer()) -> ok.
fill(Node, First, Count) ->
    ok = ferrets_bench_table:open(ferrets, ?TAB, ordered_set, #{compare_interval => 3_600_000}),
    ferrets_bench_timing:aside(fun() ->
        [ok = ferrets:insert(?TAB, {{Node, First + I}, <<I:512>>}) || I <- ferrets_bench_record:order(Count)]
    end).

-spec server() -> pid().
server() -> whereis(?TAB).

-spec join(pid()) -> ok.
join(Server) ->
    ok = ferrets_join:join(lock, #{}, server(), Server).

-spec copy(pattern | guard) -> ok.
copy(Way) ->
    ok = ferrets_bench_table:open(ets, copy_name(Way), ordered_set),
    ferrets_bench_timing:aside(fun() ->
        Records = list_to_tuple(ferrets:tab2list(?TAB)),
        Order = ferrets_bench_record:other_order(tuple_size(Records)),
        lists:foreach(fun(I) -> ets:insert(copy_name(Way), element(I, Records)) end, Order)
    end).

-spec copy_name(pattern | guard) -> atom().
copy_name(pattern) -> owned_copy_pattern;
copy_name(guard) -> owned_copy_guard.

%% Nanoseconds for all, and how many records went.
-spec drop(owned | pattern | guard, node()) -> {float(), non_neg_integer()}.
drop(Way, Owner) ->
    Self = self(),
    Ns = ferrets_bench_timing:timed(Way, fun() ->
        Self ! {dropped, drop_now(Way, Owner)},
        1
    end),
    receive {dropped, Count} -> {Ns, Count} end.

-spec drop_now(owned | pattern | guard, node()) -> non_neg_integer().
drop_now(owned, Owner) ->
    ferrets_local:delete_owned(?TAB, Owner);
%% The key's beginning is bound, so that `ets' looks at those records only: an application whose keys do not begin with a
%% node has no such pattern.
drop_now(pattern, Owner) ->
    ets:select_delete(copy_name(pattern), [{{{Owner, '_'}, '_'}, [], [true]}]);
drop_now(guard, Owner) ->
    ets:select_delete(copy_name(guard), [{{{'$1', '_'}, '_'}, [{'=:=', '$1', {const, Owner}}], [true]}]).
