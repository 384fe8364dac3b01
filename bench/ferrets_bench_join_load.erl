%%% What the nodes of a join are doing meanwhile: tables are filled, writers write, memory is sampled.
%%%
%%% Runs inside the nodes.
-module(ferrets_bench_join_load).

-export([fill/4, insert/4, size/2, wire_size/2, disconnect/3]).
-export([start_writers/3, stop_writers/0, start_sampler/0, stop_sampler/0, weigh/0]).

-compile({no_auto_import, [size/1]}).

-define(SAMPLER, ferrets_bench_sampler).
-define(WRITERS, ferrets_bench_writers).
-define(SAMPLE_MS, 5).
%% A writer rests between its writes, so that what it waits for is the join and not the other writers.
-define(REST_MS, 1).
-define(KEYS_EACH, 100).

%% ---------------------------------------------------------------- records

%% Opens a table and inserts records of these numbers. What is needed for that is let go a thousand at a time: the VM would not
%% give a million numbers' memory back at once, and it would count as the join's.
-spec fill(ferrets_bench_table:contender(), atom(), First :: non_neg_integer(), Count :: non_neg_integer()) -> ok.
fill(Side, Tab, First, Count) ->
    ok = ferrets_bench_table:open(Side, Tab, ordered_set),
    ferrets_bench_record:each_thousand(
        fun(Numbers) -> ok = ferrets_bench_table:fill(Side, Tab, plain, [First + N || N <- Numbers]) end, Count).

-spec insert(ferrets_bench_table:contender(), atom(), First :: non_neg_integer(), Count :: non_neg_integer()) -> ok.
insert(Side, Tab, First, Count) ->
    Order = [First + I || I <- ferrets_bench_record:order(max(1, Count)), I =< Count],
    ferrets_bench_table:fill(Side, Tab, plain, Order).

-spec size(ferrets_bench_table:contender(), atom()) -> non_neg_integer().
size(ferrets, Tab) -> ferrets:size(Tab);
size(_, Tab) -> ets:info(Tab, size).

-spec wire_size(First :: non_neg_integer(), Count :: pos_integer()) -> pos_integer().
wire_size(First, Count) ->
    lists:foldl(
        fun(I, Sum) -> Sum + byte_size(term_to_binary(ferrets_bench_record:record(plain, I))) end,
        0,
        lists:seq(First + 1, First + Count)
    ).

%% Returns when this node's table knows that it is alone.
-spec disconnect(node(), ferrets_bench_table:contender(), atom()) -> ok.
disconnect(Node, Side, Tab) ->
    _ = erlang:disconnect_node(Node),
    await_alone(Side, Tab).

-spec await_alone(ferrets_bench_table:contender(), atom()) -> ok.
await_alone(Side, Tab) ->
    Others = case Side of ferrets -> ferrets:other_pids(Tab); cets -> cets:other_pids(Tab) end,
    case Others of
        [] ->
            ok;
        _ ->
            timer:sleep(5),
            await_alone(Side, Tab)
    end.

%% ---------------------------------------------------------------- writers

-spec start_writers(ferrets_bench_table:contender(), atom(), pos_integer()) -> ok.
start_writers(Side, Tab, Count) ->
    Self = self(),
    Insert = ferrets_bench_table:call(Side, insert),
    Group = spawn(fun() ->
        true = register(?WRITERS, self()),
        Self ! {self(), started},
        Writers = [spawn_link(fun() -> write(Insert, Tab, N, 0, 0) end) || N <- lists:seq(1, Count)],
        receive {stop, From} -> From ! {?WRITERS, lists:max([stop_writer(Writer) || Writer <- Writers])} end
    end),
    receive {Group, started} -> ok end.

%% The longest that one of them waited for one write, in milliseconds.
-spec stop_writers() -> float().
stop_writers() ->
    Group = whereis(?WRITERS),
    Monitor = monitor(process, Group),
    Group ! {stop, self()},
    Longest = receive {?WRITERS, Ns} -> Ns end,
    receive {'DOWN', Monitor, process, Group, _} -> ok end,
    Longest / 1.0e6.

-spec stop_writer(pid()) -> integer().
stop_writer(Writer) ->
    Writer ! {stop, self()},
    receive {longest, Writer, Ns} -> Ns end.

-spec write(ferrets_bench_table:call(), atom(), pos_integer(), non_neg_integer(), integer()) -> ok.
write(Insert, Tab, N, Count, Longest) ->
    Record = {{writer, node(), N, Count rem ?KEYS_EACH}, <<Count:512>>},
    Start = erlang:monotonic_time(nanosecond),
    _ = Insert(Tab, Record),
    Longest1 = max(Longest, erlang:monotonic_time(nanosecond) - Start),
    receive
        {stop, From} ->
            From ! {longest, self(), Longest1},
            ok
    after ?REST_MS ->
        write(Insert, Tab, N, Count + 1, Longest1)
    end.

%% ---------------------------------------------------------------- memory

%% Looks at this node's memory all the time, before all other processes.
-spec start_sampler() -> ok.
start_sampler() ->
    Self = self(),
    Sampler = spawn_opt(
        fun() ->
            true = register(?SAMPLER, self()),
            Self ! {self(), started},
            sample(weigh())
        end,
        [{priority, high}]
    ),
    receive {Sampler, started} -> ok end.

%% The most that was seen.
-spec stop_sampler() -> pos_integer().
stop_sampler() ->
    ?SAMPLER ! {stop, self()},
    receive {?SAMPLER, Peak} -> Peak end.

-spec sample(pos_integer()) -> ok.
sample(Peak) ->
    Peak1 = max(Peak, weigh()),
    receive
        {stop, From} ->
            From ! {?SAMPLER, Peak1},
            ok
    after ?SAMPLE_MS ->
        sample(Peak1)
    end.

%% As the system counts, if it says: the VM does not count what Ferrets' records are in.
-spec weigh() -> pos_integer().
weigh() ->
    case ferrets_bench_node:resident_bytes() of
        unknown -> erlang:memory(total);
        Bytes -> Bytes
    end.
