%%% A row of a table of results: what is measured, against what, and what it ought to reach.
%%%
%%% Not a measurement: a row is given samples, one figure per round, and says what they amount to. A ratio is formed in
%%% each round, from two figures that were measured one right after the other, and only then is the median taken: on a
%%% machine that others use as well, both sides of one round have had the same weather.
%%%
%%% A row makes a line for what the targets name, and one for each further contender that was measured beside it, which
%%% no target speaks of.
-module(ferrets_bench_row).

-export([lines/2, median/1]).
-export([ratio_text/1, limit_text/2, figure_text/2, verdict_text/1, measure_of/2]).

-export_type([row/0, line/0, outcome/0, sample/0, unit/0, verdict/0, ratio/0]).

-type unit() :: ns | us | ms | s | per_second | bytes | megabytes | count | factor.

%% `speedup': how many times as fast as the other, more is better. `share': ours over the other's, less is better.
%% `value': our own figure, less is better. `shown': a figure that no target speaks of.
-type comparison() :: speedup | share | value | shown.

-type row() :: #{
    name := atom(),
    what := string(),
    against := string(),
    unit := unit(),
    compare := comparison(),
    must => number(),
    aim => number(),
    %% The row is about what all others of its group did: they are measured first, though only this one be asked for.
    needs_all => boolean(),
    measure := fun((ferrets_bench_group:settings(), ferrets_bench_group:shared()) -> outcome())
}.

%% A figure for each round.
-type sample() :: [number(), ...].
-type contender() :: {Name :: string(), sample() | {missing, Why :: string()}}.
%% The first of the others is the one that the row is against. Notes stand under the table.
-type outcome() ::
    #{ours := sample(), others := [contender()], notes => [string()]} | {not_measured, Why :: string()}.

-type ratio() :: {Median :: float(), Min :: float(), Max :: float()}.
-type verdict() :: aim | must | missed | no_worse | no_target | {not_measured, string()}.
-type line() :: #{
    row := row(),
    against := string(),
    ours := sample() | none,
    theirs := sample() | none,
    ratio := ratio() | none,
    verdict := verdict(),
    is_first := boolean()
}.

-spec lines(row(), outcome()) -> [line()].
lines(#{against := Against} = Row, {not_measured, Why}) ->
    [line(Row, Against, none, none, none, {not_measured, Why}, true)];
lines(#{against := Against} = Row, #{ours := Ours, others := []}) ->
    Ratio = spread(Ours),
    [line(Row, Against, Ours, none, Ratio, verdict(Row, Ratio), true)];
lines(#{against := Against} = Row, #{ours := Ours, others := [{_, First} | Others]}) ->
    [other(Row, Ours, {Against, First}, true) | [other(Row, Ours, Other, false) || Other <- Others]].

-spec other(row(), sample(), contender(), boolean()) -> line().
other(#{compare := value} = Row, Ours, {Name, Theirs}, IsFirst) when is_list(Theirs) ->
    Ratio = spread(Ours),
    line(Row, Name, Ours, Theirs, Ratio, control_verdict(target_verdict(Row, Ratio, IsFirst), Ours, Theirs), IsFirst);
other(Row, Ours, {Name, Theirs}, IsFirst) when is_list(Theirs) ->
    Ratio = spread([ratio(Row, O, T) || {O, T} <- lists:zip(Ours, Theirs)]),
    line(Row, Name, Ours, Theirs, Ratio, target_verdict(Row, Ratio, IsFirst), IsFirst);
%% What is to stay under a limit can be judged without the other.
other(#{compare := value} = Row, Ours, {Name, {missing, Why}}, true) ->
    Ratio = spread(Ours),
    line(Row, Name ++ " (" ++ Why ++ ")", Ours, none, Ratio, verdict(Row, Ratio), true);
other(Row, Ours, {Name, {missing, Why}}, IsFirst) ->
    line(Row, Name, Ours, none, none, {not_measured, Why}, IsFirst).

-spec line(row(), string(), sample() | none, sample() | none, ratio() | none, verdict(), boolean()) -> line().
line(Row, Against, Ours, Theirs, Ratio, Verdict, IsFirst) ->
    #{
        row => Row,
        against => Against,
        ours => Ours,
        theirs => Theirs,
        ratio => Ratio,
        verdict => Verdict,
        is_first => IsFirst
    }.

%% How one round went. A figure of nothing, such as no pause at all, is taken for the least that can be told.
-spec ratio(row(), number(), number()) -> float().
ratio(#{compare := speedup, unit := per_second}, Ours, Theirs) -> Ours / max(Theirs, 1.0e-9);
ratio(#{compare := speedup}, Ours, Theirs) -> Theirs / max(Ours, 1.0e-9);
ratio(_, Ours, Theirs) -> Ours / max(Theirs, 1.0e-9).

-spec spread([number(), ...]) -> ratio().
spread(Figures) ->
    {median(Figures), float(lists:min(Figures)), float(lists:max(Figures))}.

-spec median([number(), ...]) -> float().
median(Figures) ->
    Sorted = lists:sort(Figures),
    Count = length(Sorted),
    (lists:nth((Count + 1) div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2.

-spec target_verdict(row(), ratio(), boolean()) -> verdict().
target_verdict(_Row, _Ratio, false) -> no_target;
target_verdict(Row, Ratio, true) -> verdict(Row, Ratio).

%% Where nothing is compared, a control beside us may show that it is the machine that makes everybody wait.
-spec control_verdict(verdict(), sample(), sample()) -> verdict().
control_verdict(missed, Ours, Theirs) ->
    case median(Theirs) >= median(Ours) of
        true -> no_worse;
        false -> missed
    end;
control_verdict(Verdict, _, _) ->
    Verdict.

-spec verdict(row(), ratio()) -> verdict().
verdict(Row, {Median, _, _}) ->
    case {reaches(aim, Row, Median), reaches(must, Row, Median)} of
        {none, none} -> no_target;
        {true, _} -> aim;
        {_, true} -> must;
        _ -> missed
    end.

-spec reaches(must | aim, row(), float()) -> boolean() | none.
reaches(Which, #{compare := Compare} = Row, Ratio) ->
    case Row of
        #{Which := Limit} when Compare =:= speedup -> Ratio >= Limit;
        #{Which := Limit} -> Ratio =< Limit;
        #{} -> none
    end.

%% How far the ratio is beyond what it must be: 1 is just reached, 2 is twice as good. For plots.
-spec measure_of(row(), float()) -> float().
measure_of(#{compare := Compare} = Row, Ratio) ->
    case Row of
        #{must := Must} when Compare =:= speedup -> Ratio / Must;
        #{must := Must} -> Must / max(Ratio, 1.0e-9);
        #{} when Compare =:= speedup -> Ratio;
        #{} -> 1 / max(Ratio, 1.0e-9)
    end.

%% ---------------------------------------------------------------- in words

-spec ratio_text(line()) -> string().
ratio_text(#{ratio := none}) ->
    "";
ratio_text(#{row := #{compare := value}}) ->
    "";
ratio_text(#{ratio := {Median, Min, Max}, ours := [_, _ | _]}) ->
    lists:flatten([decimal(Median), "x (", decimal(Min), " to ", decimal(Max), ")"]);
ratio_text(#{ratio := {Median, _, _}}) ->
    decimal(Median) ++ "x".

-spec limit_text(must | aim, row()) -> string().
limit_text(Which, #{compare := Compare, unit := Unit} = Row) ->
    case Row of
        #{Which := Limit} when Compare =:= speedup -> limit_decimal(Limit) ++ "x as fast";
        #{Which := Limit} when Compare =:= share -> "at most " ++ limit_decimal(Limit) ++ "x";
        #{Which := Limit} -> "at most " ++ scaled(Limit, Unit);
        #{} -> ""
    end.

-spec limit_decimal(number()) -> string().
limit_decimal(Limit) when is_integer(Limit) -> integer_to_list(Limit);
limit_decimal(Limit) -> float_to_list(Limit, [{decimals, 3}, compact]).

%% The median, and how far the rounds lie apart.
-spec figure_text(sample() | none, unit()) -> string().
figure_text(none, _Unit) ->
    "";
figure_text([Figure], Unit) ->
    scaled(Figure, Unit);
figure_text(Sample, Unit) ->
    {Median, Min, Max} = spread(Sample),
    lists:flatten([scaled(Median, Unit), " (", scaled(Min, Unit), " to ", scaled(Max, Unit), ")"]).

-spec scaled(number(), unit()) -> string().
scaled(Figure, ns) when Figure >= 1.0e9 -> decimal(Figure / 1.0e9) ++ " s";
scaled(Figure, ns) when Figure >= 1.0e6 -> decimal(Figure / 1.0e6) ++ " ms";
scaled(Figure, ns) when Figure >= 1.0e4 -> decimal(Figure / 1.0e3) ++ " us";
scaled(Figure, per_second) when Figure >= 1.0e6 -> decimal(Figure / 1.0e6) ++ " M/s";
scaled(Figure, per_second) when Figure >= 1.0e3 -> decimal(Figure / 1.0e3) ++ " k/s";
scaled(Figure, per_second) -> decimal(Figure) ++ " /s";
scaled(Figure, bytes) when Figure >= 1.0e6 -> decimal(Figure / 1.0e6) ++ " MB";
scaled(Figure, bytes) when Figure >= 1.0e4 -> decimal(Figure / 1.0e3) ++ " KB";
scaled(Figure, megabytes) -> decimal(Figure) ++ " MB";
scaled(Figure, count) -> decimal(Figure);
scaled(Figure, factor) -> decimal(Figure) ++ "x";
scaled(Figure, Unit) -> decimal(Figure) ++ " " ++ atom_to_list(Unit).

%% Three digits or so; more would be noise.
-spec decimal(number()) -> string().
decimal(Figure) when Figure >= 100 -> integer_to_list(round(Figure));
decimal(Figure) when Figure >= 10 -> float_to_list(float(Figure), [{decimals, 1}]);
decimal(Figure) when Figure == 0 -> "0";
decimal(Figure) when Figure < 0.1 -> float_to_list(float(Figure), [{decimals, 4}]);
decimal(Figure) -> float_to_list(float(Figure), [{decimals, 2}]).

-spec verdict_text(verdict()) -> string().
verdict_text(aim) -> "aim";
verdict_text(must) -> "must";
verdict_text(missed) -> "**below must**";
verdict_text(no_worse) -> "over must, no worse than the control";
verdict_text(no_target) -> "";
verdict_text({not_measured, Why}) -> Why.
