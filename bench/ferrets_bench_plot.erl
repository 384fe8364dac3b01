%%% One picture for a group: a bar for each row, as an SVG.
%%%
%%% Rows are of different kinds, so the scale is common: how far the ratio is beyond what it must be, on a logarithmic axis.
%%% A bar that ends right of the line reaches "must"; the small mark is "aim"; the thin line shows the rounds' spread. Rows
%%% that no target speaks of are grey, and their line is "as fast as the other".
-module(ferrets_bench_plot).

-export([write/4]).

-define(WIDTH, 1000).
-define(LEFT, 470).
-define(RIGHT, 90).
-define(TOP, 60).
-define(ROW, 26).
%% The axis goes from an eighth of "must" to eight times it; bars beyond that end at its end.
-define(SPAN, 3.0).

-spec write(file:filename(), string(), [ferrets_bench_row:line()], ferrets_bench_group:settings()) -> ok.
write(File, Title, Lines, Settings) ->
    ok = filelib:ensure_dir(File),
    Shown = [Line || #{is_first := true, ratio := Ratio} = Line <- Lines, Ratio =/= none],
    Height = ?TOP + ?ROW * length(Shown) + 20,
    ok = file:write_file(File, unicode:characters_to_binary([
        io_lib:format(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"~b\" height=\"~b\" viewBox=\"0 0 ~b ~b\" "
            "font-family=\"sans-serif\" font-size=\"12\">~n",
            [?WIDTH, Height, ?WIDTH, Height]
        ),
        io_lib:format("<rect width=\"~b\" height=\"~b\" fill=\"white\"/>~n", [?WIDTH, Height]),
        text(12, 22, "start", "16", Title ++ ": beyond \"must\", times (right of the line is good; the mark is \"aim\")"),
        axis(Height),
        [row(N, Line, Settings) || {N, Line} <- lists:zip(lists:seq(0, length(Shown) - 1), Shown)],
        "</svg>\n"
    ])).

-spec axis(pos_integer()) -> iodata().
axis(Height) ->
    [
        [
            stroke(x(At), ?TOP - 6, x(At), Height - 14, colour_of_line(At), 1),
            text(x(At), ?TOP - 12, "middle", "11", label(At))
        ]
     || At <- [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    ].

-spec colour_of_line(float()) -> string().
colour_of_line(1.0) -> "black";
colour_of_line(_) -> "#dddddd".

-spec label(float()) -> string().
label(1.0) -> "must";
label(At) when At < 1 -> "1/" ++ integer_to_list(round(1 / At));
label(At) -> integer_to_list(round(At)).

-spec row(non_neg_integer(), ferrets_bench_row:line(), ferrets_bench_group:settings()) -> iodata().
row(N, #{row := Row, ratio := {Median, Min, Max}, verdict := Verdict} = Line, Settings) ->
    Y = ?TOP + N * ?ROW,
    Middle = Y + 9,
    [Bar, End1, End2] = [x(ferrets_bench_row:measure_of(Row, Ratio)) || Ratio <- [Median, Min, Max]],
    Zero = x(1.0),
    [
        text(?LEFT - 8, Y + 13, "end", "10", plain(ferrets_bench_report:fill_in(maps:get(what, Row), Settings))),
        io_lib:format("<rect x=\"~.1f\" y=\"~b\" width=\"~.1f\" height=\"16\" fill=\"~s\"/>~n", [
            min(Zero, Bar), Y + 1, max(1.0, abs(Bar - Zero)), colour(Verdict)
        ]),
        stroke(End1, Middle, End2, Middle, "#333333", 1),
        aim_mark(Row, Y),
        text(?WIDTH - ?RIGHT + 8, Y + 13, "start", "11", figure(Line))
    ].

-spec figure(ferrets_bench_row:line()) -> string().
figure(#{row := #{compare := value, unit := Unit}, ratio := {Median, _, _}}) ->
    ferrets_bench_row:figure_text([Median], Unit);
figure(#{ratio := {Median, _, _}}) ->
    lists:flatten(io_lib:format("~.2fx", [Median])).

-spec aim_mark(ferrets_bench_row:row(), integer()) -> iodata().
aim_mark(#{aim := Aim} = Row, Y) ->
    X = x(ferrets_bench_row:measure_of(Row, float(Aim))),
    stroke(X, Y, X, Y + 18, "#555555", 3);
aim_mark(_, _) ->
    "".

-spec colour(ferrets_bench_row:verdict()) -> string().
colour(aim) -> "#2a8c4a";
colour(must) -> "#8cc04a";
colour(missed) -> "#d0453a";
colour(_) -> "#9a9a9a".

-spec x(number()) -> float().
x(Measure) ->
    Log = max(-?SPAN, min(?SPAN, math:log2(max(Measure, 1.0e-6)))),
    ?LEFT + (?WIDTH - ?LEFT - ?RIGHT) * (Log + ?SPAN) / (2 * ?SPAN).

-spec stroke(float(), integer(), float(), integer(), string(), pos_integer()) -> iodata().
stroke(X1, Y1, X2, Y2, Colour, Width) ->
    io_lib:format("<line x1=\"~.1f\" y1=\"~b\" x2=\"~.1f\" y2=\"~b\" stroke=\"~s\" stroke-width=\"~b\"/>~n", [
        X1, Y1, X2, Y2, Colour, Width
    ]).

-spec text(number(), number(), string(), string(), string()) -> iodata().
text(X, Y, Anchor, Size, Text) ->
    io_lib:format("<text x=\"~b\" y=\"~b\" text-anchor=\"~s\" font-size=\"~s\">~ts</text>~n", [
        round(X), round(Y), Anchor, Size, escape(Text)
    ]).

-spec plain(string()) -> string().
plain(Text) -> [Char || Char <- Text, Char =/= $`].

-spec escape(string()) -> iodata().
escape(Text) ->
    [case Char of $& -> "&amp;"; $< -> "&lt;"; $> -> "&gt;"; $" -> "&quot;"; _ -> Char end || Char <- Text].
