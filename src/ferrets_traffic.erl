%%% What a sync with a peer has cost.
%%%
%%% It is measured from the moment its link comes up until both sides have all: what is written meanwhile goes over the same
%%% link and is counted in.
-module(ferrets_traffic).

-export([begin_sync/2, end_sync/2]).

-export_type([mark/0]).

-opaque mark() :: #{ms := integer(), records := non_neg_integer(), traffic := ferrets_nif:traffic()}.

%% `Traffic': with this peer so far.
-spec begin_sync(Records :: non_neg_integer(), Traffic :: ferrets_nif:traffic()) -> mark().
begin_sync(Records, Traffic) ->
    #{ms => erlang:monotonic_time(millisecond), records => Records, traffic => Traffic}.

-spec end_sync(mark(), Traffic :: ferrets_nif:traffic()) ->
    #{time_ms := integer(), bytes_sent := integer(), bytes_received := integer(), records_before := integer()}.
end_sync(#{ms := Ms, records := Records, traffic := Before}, After) ->
    #{bytes_sent := SentBefore, bytes_received := ReceivedBefore} = Before,
    #{bytes_sent := Sent, bytes_received := Received} = After,
    #{
        time_ms => erlang:monotonic_time(millisecond) - Ms,
        bytes_sent => Sent - SentBefore,
        bytes_received => Received - ReceivedBefore,
        records_before => Records
    }.
