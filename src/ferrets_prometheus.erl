%%% Metrics in Prometheus' text format, version 0.0.4.
%%%
%%% A number `size' of a table becomes `ferrets_size{table="sessions"} 4', one per peer has a label `peer' besides; those of discovery are
%%% called `ferrets_discovery_...' and have a label `discovery'. Counters end in `_total'. It knows nothing of HTTP.
%%%
%%%     1> io:put_chars(ferrets_prometheus:format([{{table, sessions}, #{size => 4}}])).
%%%     # TYPE ferrets_size gauge
%%%     ferrets_size{table="sessions"} 4
-module(ferrets_prometheus).

-export([format/1]).

-type sample() :: {Name :: string(), ferrets_metrics:name(), Labels :: [{string(), atom()}], number()}.

-spec format([{ferrets_metrics:source(), ferrets_metrics:metrics()}]) -> iolist().
format(Metrics) ->
    Samples = [sample(Of, Name, Value) || {Of, Numbers} <- Metrics, {Name, Value} <- maps:to_list(Numbers)],
    %% All samples of a name must stand together.
    ByName = maps:groups_from_list(fun({Name, _, _, _}) -> Name end, Samples),
    [family(Name, lists:sort(Family)) || {Name, Family} <- lists:sort(maps:to_list(ByName))].

-spec sample(ferrets_metrics:source(), ferrets_metrics:name(), number()) -> sample().
sample({table, Tab}, {Name, Node}, Value) ->
    %% Apart from the sum of the same name.
    {name("ferrets_peer_", Name), Name, [{"table", Tab}, {"peer", Node}], Value};
sample({table, Tab}, Name, Value) ->
    {name("ferrets_", Name), Name, [{"table", Tab}], Value};
sample({discovery, Disco}, Name, Value) ->
    {name("ferrets_discovery_", Name), Name, [{"discovery", Disco}], Value}.

-spec name(string(), atom()) -> string().
name(Prefix, Name) ->
    case ferrets_metrics:kind(Name) of
        counter -> Prefix ++ atom_to_list(Name) ++ "_total";
        gauge -> Prefix ++ atom_to_list(Name)
    end.

-spec family(string(), [sample(), ...]) -> iolist().
family(Name, [{_, Metric, _, _} | _] = Samples) ->
    [
        ["# TYPE ", Name, " ", atom_to_list(ferrets_metrics:kind(Metric)), "\n"]
        | [[Name, "{", lists:join(",", [label(Label) || Label <- Labels]), "} ", number(Value), "\n"]
           || {_, _, Labels, Value} <- Samples]
    ].

-spec label({string(), atom()}) -> iolist().
label({Name, Value}) ->
    [Name, "=\"", [escape(Character) || Character <- atom_to_list(Value)], "\""].

-spec escape(char()) -> iodata().
escape($\\) -> "\\\\";
escape($") -> "\\\"";
escape($\n) -> "\\n";
escape(Character) -> <<Character/utf8>>.

-spec number(number()) -> string().
number(Value) when is_integer(Value) -> integer_to_list(Value);
number(Value) -> float_to_list(Value, [short]).
