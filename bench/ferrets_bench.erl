%%% Benchmarks: measures the rows that are asked for, says so as it goes, and writes a report with a plot for each group.
%%%
%%% Not a test: whatever the figures are, it ends well. Only a row that breaks off makes it end with status 1, after all
%%% others.
%%%
%%% Asked by environment variables: `QUICK=1' for small tables and few rounds, `ONLY' for names of groups or rows,
%%% `CETS_EBIN' for the folder of a built cets. Only a run of everything, at full size, writes `bench/results.md'.
-module(ferrets_bench).

-export([main/0]).

-define(GROUPS, [
    {one_node, ferrets_bench_one_node},
    {three_nodes, ferrets_bench_three_nodes},
    {joins, ferrets_bench_joins},
    {hot_path, ferrets_bench_hot_path}
]).

-spec main() -> no_return().
main() ->
    process_flag(trap_exit, true),
    Cets = add_cets(os:getenv("CETS_EBIN", "")),
    Quick = lists:member(os:getenv("QUICK", ""), ["1", "true", "yes"]),
    Settings = ferrets_bench_group:settings(Quick, Cets),
    Only = [list_to_atom(Name) || Name <- string:lexemes(os:getenv("ONLY", ""), " ,")],
    case Only -- known() of
        [] ->
            halt(run(Only, Settings));
        Unknown ->
            io:format("bench: unknown: ~p~nKnown are ~p~n", [Unknown, known()]),
            halt(1)
    end.

-spec add_cets(string()) -> boolean().
add_cets("") ->
    false;
add_cets(Dir) ->
    true = code:add_patha(filename:absname(Dir)),
    {module, cets} = code:ensure_loaded(cets),
    true.

-spec known() -> [atom()].
known() ->
    lists:append([[Name | names(Module:rows())] || {Name, Module} <- ?GROUPS]).

-spec names([ferrets_bench_row:row()]) -> [atom()].
names(Rows) -> [Name || #{name := Name} <- Rows].

-spec run([atom()], ferrets_bench_group:settings()) -> 0 | 1.
run(Only, Settings) ->
    Start = erlang:monotonic_time(second),
    say_beginning(Settings),
    ok = ferrets_bench_node:start_epmd(),
    {Folder, Name} = place(Only, Settings),
    Wanted = [{Group, Module} || {Group, Module} <- ?GROUPS, wanted_rows(Group, Module, Only) =/= []],
    Results = [measure_group(Group, Module, Folder, Only, Settings) || {Group, Module} <- Wanted],
    File = filename:join(Folder, Name),
    ok = ferrets_bench_report:write(File, command(Only, Settings), Results, Settings),
    {ok, Text} = file:read_file(File),
    io:format("~n~ts~n(~s, after ~b s)~n", [Text, File, erlang:monotonic_time(second) - Start]),
    case [broken || #{lines := Lines} <- Results, #{verdict := {not_measured, "broke off" ++ _}} <- Lines] of
        [] -> 0;
        _ -> 1
    end.

-spec say_beginning(ferrets_bench_group:settings()) -> ok.
say_beginning(#{quick := true} = Settings) ->
    io:format(ferrets_bench_report:fill_in("QUICK: tables of {big} records and few rounds~n", Settings));
say_beginning(_) ->
    io:format("The whole table takes long; QUICK=1 takes two minutes, ONLY=<group or row> measures a part~n").

%% Only what was measured in full may replace what the README quotes.
-spec place([atom()], ferrets_bench_group:settings()) -> {file:filename(), file:filename()}.
place([], #{quick := false}) -> {"bench", "results.md"};
place([], #{quick := true}) -> {"_build/bench", "quick.md"};
place(_, _) -> {"_build/bench", "only.md"}.

-spec command([atom()], ferrets_bench_group:settings()) -> string().
command(Only, #{quick := Quick, cets := Cets}) ->
    lists:flatten([
        "make bench",
        [" QUICK=1" || Quick],
        [[" ONLY=", quote(lists:join($\s, [atom_to_list(Name) || Name <- Only]))] || Only =/= []],
        [" CETS_EBIN=..." || Cets]
    ]).

-spec quote(iodata()) -> iodata().
quote(Text) ->
    case lists:member($\s, Text) of
        true -> [$', Text, $'];
        false -> Text
    end.

%% ---------------------------------------------------------------- groups and rows

-spec wanted_rows(atom(), module(), [atom()]) -> [atom()].
wanted_rows(Group, Module, Only) ->
    case Only =:= [] orelse lists:member(Group, Only) of
        true -> names(Module:rows());
        false -> [Name || Name <- names(Module:rows()), lists:member(Name, Only)]
    end.

-spec measure_group(atom(), module(), file:filename(), [atom()], ferrets_bench_group:settings()) ->
    ferrets_bench_report:result().
measure_group(Group, Module, Folder, Only, Settings) ->
    io:format("~n~s~n", [Module:title()]),
    Wanted = wanted_rows(Group, Module, Only),
    NeedsAll = [all || #{name := Name, needs_all := true} <- Module:rows(), lists:member(Name, Wanted)] =/= [],
    Shared = Module:start(Settings),
    Measured = [
        {Row, measure(Row, Settings, Shared)}
     || #{name := Name} = Row <- Module:rows(), NeedsAll orelse lists:member(Name, Wanted)
    ],
    ok = Module:stop(Shared),
    Shown = [{Row, Outcome} || {#{name := Name} = Row, Outcome} <- Measured, lists:member(Name, Wanted)],
    Lines = lists:append([ferrets_bench_row:lines(Row, Outcome) || {Row, Outcome} <- Shown]),
    Plot = atom_to_list(Group) ++ ".svg",
    ok = ferrets_bench_plot:write(filename:join(Folder, Plot), Module:title(), Lines, Settings),
    #{
        title => Module:title(),
        plot => Plot,
        lines => Lines,
        notes => lists:append([Notes || {_, #{notes := Notes}} <- Shown])
    }.

-spec measure(ferrets_bench_row:row(), ferrets_bench_group:settings(), ferrets_bench_group:shared()) ->
    ferrets_bench_row:outcome().
measure(#{name := Name, what := What, measure := Measure} = Row, Settings, Shared) ->
    io:format("  ~-26s ~ts~n", [Name, ferrets_bench_report:fill_in(What, Settings)]),
    Start = erlang:monotonic_time(millisecond),
    Outcome =
        try
            Measure(Settings, Shared)
        catch
            Class:Reason:Stack ->
                io:format("~p~n", [{Class, Reason, Stack}]),
                {not_measured, "broke off"}
        end,
    Seconds = (erlang:monotonic_time(millisecond) - Start) / 1000,
    lists:foreach(fun(Line) -> say_line(Line, Seconds) end, ferrets_bench_row:lines(Row, Outcome)),
    Outcome.

-spec say_line(ferrets_bench_row:line(), float()) -> ok.
say_line(Line, Seconds) ->
    #{row := #{unit := Unit}, against := Against, ours := Ours, theirs := Theirs, verdict := Verdict} = Line,
    Parts = [
        ferrets_bench_row:figure_text(Ours, Unit),
        "against " ++ Against,
        ferrets_bench_row:figure_text(Theirs, Unit),
        ferrets_bench_row:ratio_text(Line),
        ferrets_bench_row:verdict_text(Verdict)
    ],
    io:format("    ~7.1f s  ~ts~n", [Seconds, lists:join(" | ", [Part || Part <- Parts, Part =/= ""])]).
