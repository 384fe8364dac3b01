%%% Writes what was measured as Markdown: a table for each group, and where, when and by which command.
%%%
%%% Prints nothing that was not measured: a figure that is missing says why.
-module(ferrets_bench_report).

-export([write/4, fill_in/2]).

-export_type([result/0]).

-type result() :: #{title := string(), plot := string(), lines := [ferrets_bench_row:line()], notes := [string()]}.

-spec write(file:filename(), string(), [result()], ferrets_bench_group:settings()) -> ok.
write(File, Command, Results, Settings) ->
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, unicode:characters_to_binary([
        "# Benchmarks\n\n",
        introduction(Command, Settings),
        [group(Result, Settings) || Result <- Results]
    ])).

-spec introduction(string(), ferrets_bench_group:settings()) -> iodata().
introduction(Command, Settings) ->
    [
        "Made by `", Command, "`.\n\n",
        "Each ratio is of figures that were measured in one run, in turn, round by round; the median of the rounds' ratios\n",
        "is shown, with the least and the greatest. Absolute figures depend on the machine and its mood.\n",
        [["\n**", Text, "**\n"] || Text <- size_warning(Settings)],
        "\n| | |\n|---|---|\n",
        [["| ", Name, " | ", Value, " |\n"] || {Name, Value} <- circumstances(Settings)]
    ].

-spec size_warning(ferrets_bench_group:settings()) -> [string()].
size_warning(#{quick := true} = Settings) ->
    [fill_in("QUICK: tables of {big} records instead of a million, few rounds. Not the figures to judge by.", Settings)];
size_warning(_) ->
    [].

-spec circumstances(ferrets_bench_group:settings()) -> [{string(), iodata()}].
circumstances(#{rounds := Rounds, few_rounds := Few, many_rounds := Many}) ->
    {{Year, Month, Day}, {Hour, Minute, _}} = calendar:universal_time(),
    [
        {"date", io_lib:format("~4..0b-~2..0b-~2..0b ~2..0b:~2..0b UTC", [Year, Month, Day, Hour, Minute])},
        {"ferrets", [version(ferrets), ", commit ", command_output("git describe --always --dirty --abbrev=12")]},
        {"OTP", [erlang:system_info(otp_release), ", ERTS ", erlang:system_info(version)]},
        {"processor", [command_output("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1"), ", ",
            integer_to_list(erlang:system_info(logical_processors)), " cores"]},
        {"memory", command_output("sed -n 's/^MemTotal: *//p' /proc/meminfo")},
        {"system", command_output("uname -srm")},
        {"load before", command_output("cut -d ' ' -f 1-3 /proc/loadavg")},
        {"virtual machines", "`+sbwt none +sbwtdcpu none +sbwtdio none`"},
        {"cets", version(cets)},
        {"rounds",
            io_lib:format("~b; ~b of a lone caller's latency; ~b where a round is long; 1 where a row needs fresh VMs", [Rounds, Many, Few])}
    ].

-spec version(atom()) -> string().
version(App) ->
    _ = application:load(App),
    case application:get_key(App, vsn) of
        {ok, Version} -> Version;
        undefined -> "not given"
    end.

-spec command_output(string()) -> string().
command_output(Command) ->
    case string:trim(os:cmd(Command ++ " 2>/dev/null")) of
        "" -> "unknown";
        Output -> Output
    end.

-spec group(result(), ferrets_bench_group:settings()) -> iodata().
group(#{title := Title, plot := Plot, lines := Lines, notes := Notes}, Settings) ->
    [
        "\n## ", Title, "\n\n",
        "| what | ours | against | theirs | ratio | must | aim | verdict |\n|---|---|---|---|---|---|---|---|\n",
        [line(Line, Settings) || Line <- Lines],
        [["\n", [["- ", fill_in(Note, Settings), "\n"] || Note <- Notes]] || Notes =/= []],
        "\n![", Title, "](", Plot, ")\n"
    ].

-spec line(ferrets_bench_row:line(), ferrets_bench_group:settings()) -> iodata().
line(#{row := Row, ours := Ours, theirs := Theirs, is_first := IsFirst} = Line, Settings) ->
    #{what := What, name := Name, unit := Unit} = Row,
    Cells = [
        case IsFirst of
            true -> [fill_in(What, Settings), " (", atom_to_list(Name), ")"];
            false -> ""
        end,
        case IsFirst of
            true -> ferrets_bench_row:figure_text(Ours, Unit);
            false -> ""
        end,
        maps:get(against, Line),
        ferrets_bench_row:figure_text(Theirs, Unit),
        ferrets_bench_row:ratio_text(Line),
        [ferrets_bench_row:limit_text(must, Row) || IsFirst],
        [ferrets_bench_row:limit_text(aim, Row) || IsFirst],
        ferrets_bench_row:verdict_text(maps:get(verdict, Line))
    ],
    ["|", [[" ", Cell, " |"] || Cell <- Cells], "\n"].

%% Puts sizes into a text: `{big}' becomes `1 M'.
-spec fill_in(string(), ferrets_bench_group:settings()) -> string().
fill_in(Text, Settings) ->
    maps:fold(
        fun
            (Key, Value, Filled) when is_integer(Value) ->
                lists:flatten(string:replace(Filled, lists:concat(["{", Key, "}"]), size_text(Value), all));
            (_, _, Filled) ->
                Filled
        end,
        Text,
        Settings
    ).

-spec size_text(integer()) -> string().
size_text(N) when N >= 1_000_000, N rem 1_000_000 =:= 0 -> integer_to_list(N div 1_000_000) ++ " M";
size_text(N) when N >= 1_000, N rem 1_000 =:= 0 -> integer_to_list(N div 1_000) ++ " k";
size_text(N) -> integer_to_list(N).
