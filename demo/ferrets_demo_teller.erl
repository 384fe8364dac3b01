%%% Tells the story in the terminal: chapters, what happens with the time at which it did, and claims, which are counted.
%%% Plain text; colour only on a terminal.
-module(ferrets_demo_teller).

-export([begin_story/0, title/1, chapter/1, say/2, claim/3, verdict/0, number/1]).

-define(STATE, ?MODULE).

-spec begin_story() -> ok.
begin_story() ->
    persistent_term:put(?STATE, {erlang:monotonic_time(), counters:new(2, [])}).

-spec title(string()) -> ok.
title(Text) ->
    io:format("~n~s~n", [paint(bold, Text)]).

-spec chapter(string()) -> ok.
chapter(Text) ->
    io:format("~n~s~n", [paint(bold, Text)]).

-spec say(string(), [term()]) -> ok.
say(Format, Args) ->
    line("    ", Format, Args).

%% Something that the reader may hold the library to.
-spec claim(boolean(), string(), [term()]) -> ok.
claim(Holds, Format, Args) ->
    {_, Counts} = persistent_term:get(?STATE),
    case Holds of
        true ->
            counters:add(Counts, 1, 1),
            line(paint(green, "ok  "), Format, Args);
        false ->
            counters:add(Counts, 2, 1),
            line(paint(red, "NO  "), Format, Args)
    end.

%% Says how many claims held, and whether all did.
-spec verdict() -> boolean().
verdict() ->
    {_, Counts} = persistent_term:get(?STATE),
    Held = counters:get(Counts, 1),
    case counters:get(Counts, 2) of
        0 ->
            io:format("~n~s~n", [paint(green, io_lib:format("All ~b claims held.", [Held]))]),
            true;
        Failed ->
            io:format("~n~s~n", [paint(red, io_lib:format("~b of ~b claims FAILED.", [Failed, Held + Failed]))]),
            false
    end.

%% 12345 -> "12,345".
-spec number(integer()) -> string().
number(N) when N < 1000 -> integer_to_list(N);
number(N) -> number(N div 1000) ++ io_lib:format(",~3..0b", [N rem 1000]).

-spec line(iodata(), string(), [term()]) -> ok.
line(Mark, Format, Args) ->
    {Start, _} = persistent_term:get(?STATE),
    Ms = erlang:convert_time_unit(erlang:monotonic_time() - Start, native, millisecond),
    io:format("~5.1f s  ~s~s~n", [Ms / 1000, Mark, io_lib:format(Format, Args)]).

-spec paint(bold | green | red, iodata()) -> iodata().
paint(Colour, Text) ->
    case application:get_env(ferrets_demo, colour) of
        {ok, true} -> ["\e[", code(Colour), "m", Text, "\e[0m"];
        _ -> Text
    end.

-spec code(bold | green | red) -> string().
code(bold) -> "1";
code(green) -> "32";
code(red) -> "31".
