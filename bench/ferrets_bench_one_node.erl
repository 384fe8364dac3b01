%%% One node, no peers: what a table costs where it is.
%%%
%%% Rows of reads and writes share one VM, in which tables are made as rows first need them and stay; what is measured by
%%% the VM's memory has VMs of its own. Contenders' tables are of the same type and hold the same records, inserted in the
%%% same random order.
-module(ferrets_bench_one_node).

-behaviour(ferrets_bench_group).

-export([title/0, start/1, stop/1, rows/0]).

-spec title() -> string().
title() -> "One node".

-spec start(ferrets_bench_group:settings()) -> ferrets_bench_node:bench_node().
start(_Settings) ->
    Node = ferrets_bench_node:start(),
    ok = ferrets_bench_node:call(Node, ferrets_bench_watch, start, []),
    Node.

-spec stop(ferrets_bench_node:bench_node()) -> ok.
stop(Node) ->
    ferrets_bench_node:stop(Node).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    ferrets_bench_reads:rows() ++ ferrets_bench_writes:rows() ++ ferrets_bench_memory:rows() ++ ferrets_bench_owned:rows() ++
        [
            #{
                name => long_schedule,
                what => "longest call on a normal scheduler in the rows of reads and writes (`long_schedule`)",
                against => "`ets`, in the same rows",
                unit => ms,
                compare => value,
                must => 1,
                aim => 0.5,
                needs_all => true,
                measure => fun(_Settings, Node) ->
                    long_schedules(ferrets_bench_node:call(Node, ferrets_bench_watch, events, []))
                end
            }
        ].

-spec long_schedules([ferrets_bench_watch:event()]) -> ferrets_bench_row:outcome().
long_schedules(Events) ->
    #{
        ours => [longest(ferrets, Events)],
        others => [{"`ets`", [longest(ets, Events)]}],
        notes => [describe(Label, Events) || Label <- [ferrets, ets]]
    }.

-spec longest(atom(), [ferrets_bench_watch:event()]) -> non_neg_integer().
longest(Label, Events) ->
    lists:max([0 | [Ms || #{label := L, ms := Ms} <- Events, L =:= Label]]).

-spec describe(atom(), [ferrets_bench_watch:event()]) -> string().
describe(Label, Events) ->
    Ours = [{Ms, Out} || #{label := L, ms := Ms, out := Out} <- Events, L =:= Label],
    Worst = lists:sublist(lists:reverse(lists:usort(Ours)), 3),
    lists:flatten(io_lib:format("`long_schedule` reported ~s ~b times~s", [
        ferrets_bench_table:title(Label),
        length(Ours),
        [io_lib:format("; ~b ms, out at ~s", [Ms, place(Out)]) || {Ms, Out} <- Worst]
    ])).

-spec place(term()) -> iodata().
place({Module, Function, Arity}) -> io_lib:format("`~s:~s/~b`", [Module, Function, Arity]);
place(_) -> "an unknown place".
