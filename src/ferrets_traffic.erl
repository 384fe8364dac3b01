%%% How many bytes went to a peer and came from it, and what a sync with it has cost.
%%%
%%% A sync is measured from the moment its link comes up until both sides have all: what is written meanwhile goes over the same
%%% link and is counted in.
-module(ferrets_traffic).

-export([new/0, sent/2, received/2, begin_sync/2, end_sync/2]).

-export_type([traffic/0, mark/0]).

-opaque traffic() :: counters:counters_ref().
-opaque mark() :: #{ms := integer(), records := non_neg_integer(), sent := non_neg_integer(), received := non_neg_integer()}.

-spec new() -> traffic().
new() ->
    counters:new(2, []).

-spec sent(non_neg_integer(), traffic()) -> ok.
sent(Bytes, Traffic) ->
    counters:add(Traffic, 1, Bytes).

-spec received(non_neg_integer(), traffic()) -> ok.
received(Bytes, Traffic) ->
    counters:add(Traffic, 2, Bytes).

-spec begin_sync(Records :: non_neg_integer(), traffic()) -> mark().
begin_sync(Records, Traffic) ->
    #{
        ms => erlang:monotonic_time(millisecond),
        records => Records,
        sent => counters:get(Traffic, 1),
        received => counters:get(Traffic, 2)
    }.

-spec end_sync(mark(), traffic()) ->
    #{time_ms := integer(), bytes_sent := integer(), bytes_received := integer(), records_before := integer()}.
end_sync(#{ms := Ms, records := Records, sent := Sent, received := Received}, Traffic) ->
    #{
        time_ms => erlang:monotonic_time(millisecond) - Ms,
        bytes_sent => counters:get(Traffic, 1) - Sent,
        bytes_received => counters:get(Traffic, 2) - Received,
        records_before => Records
    }.
