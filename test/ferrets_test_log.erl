%%% What a node logged: a logger handler that keeps reports with `what', instead of printing.
-module(ferrets_test_log).

-export([start/0, reports/0, reports/1, whats/0, count/1]).
%% Called by logger.
-export([log/2]).

%% Begins to keep what this node logs from now on.
-spec start() -> ok.
start() ->
    Keeper = spawn(fun() -> keep([]) end),
    register(?MODULE, Keeper),
    _ = logger:remove_handler(default),
    ok = logger:set_primary_config(level, info),
    ok = logger:add_handler(?MODULE, ?MODULE, #{}).

log(#{level := Level, msg := {report, #{what := _} = Report}}, _Config) ->
    ?MODULE ! {keep, Report#{level => Level}};
log(_Event, _Config) ->
    ok.

keep(Reports) ->
    receive
        {keep, Report} ->
            keep([Report | Reports]);
        {reports, From, Ref} ->
            From ! {Ref, lists:reverse(Reports)},
            keep(Reports)
    end.

%% The oldest first.
-spec reports() -> [map()].
reports() ->
    Ref = make_ref(),
    ?MODULE ! {reports, self(), Ref},
    receive {Ref, Reports} -> Reports end.

-spec reports(atom()) -> [map()].
reports(What) ->
    [Report || #{what := Of} = Report <- reports(), Of =:= What].

-spec whats() -> [atom()].
whats() ->
    [What || #{what := What} <- reports()].

-spec count(atom()) -> non_neg_integer().
count(What) ->
    length(reports(What)).
