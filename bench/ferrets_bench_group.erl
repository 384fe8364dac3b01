%%% A group of rows that are measured one after the other and reported as one table.
%%%
%%% A group may have something that its rows share, such as a node with tables in it. It is made before the first row that
%%% is asked for, and each row's fun is given it.
-module(ferrets_bench_group).

-export([settings/2, once/2, outcome/1, against/2, against_cets/2, contenders/2]).

-export_type([settings/0, shared/0, results/0]).

-type shared() :: term().
-type settings() :: #{
    quick := boolean(),
    cets := boolean(),
    %% Rounds of a row, of one that takes long by its nature, and of one whose rounds differ much.
    rounds := pos_integer(),
    few_rounds := pos_integer(),
    many_rounds := pos_integer(),
    %% Sizes of tables.
    big := pos_integer(),
    small := pos_integer(),
    huge := pos_integer(),
    %% Operations in a round.
    reads := pos_integer(),
    writes := pos_integer(),
    cluster_writes := pos_integer(),
    overwrites := pos_integer(),
    overwritten := pos_integer()
}.
-type results() :: [{ferrets_bench_table:contender(), ferrets_bench_row:sample()}].

-callback title() -> string().
-callback start(settings()) -> shared().
-callback stop(shared()) -> ok.
-callback rows() -> [ferrets_bench_row:row()].

-spec settings(Quick :: boolean(), Cets :: boolean()) -> settings().
settings(true, Cets) ->
    #{
        quick => true,
        cets => Cets,
        rounds => 7,
        few_rounds => 2,
        many_rounds => 28,
        big => 50_000,
        small => 1_000,
        huge => 500_000,
        reads => 10_000,
        writes => 5_000,
        cluster_writes => 5_000,
        overwrites => 500_000,
        overwritten => 5_000
    };
settings(false, Cets) ->
    #{
        quick => false,
        cets => Cets,
        rounds => 15,
        few_rounds => 4,
        many_rounds => 60,
        big => 1_000_000,
        small => 1_000,
        huge => 10_000_000,
        reads => 20_000,
        writes => 20_000,
        cluster_writes => 20_000,
        overwrites => 10_000_000,
        overwritten => 100_000
    }.

%% What the fun returns, which is called once in a run: several rows may show one measurement. In the dictionary of the
%% process that leads.
-spec once(term(), fun(() -> Measured)) -> Measured.
once(Key, Measure) ->
    case get({?MODULE, Key}) of
        undefined ->
            Measured = Measure(),
            _ = put({?MODULE, Key}, Measured),
            Measured;
        Measured ->
            Measured
    end.

%% Those of a row that are there.
-spec contenders([ferrets_bench_table:contender()], settings()) -> [ferrets_bench_table:contender()].
contenders(Contenders, #{cets := Cets}) ->
    [Contender || Contender <- Contenders, Contender =/= cets orelse Cets].

-spec outcome(results()) -> ferrets_bench_row:outcome().
outcome([{ferrets, Ours} | Others]) ->
    #{ours => Ours, others => [{ferrets_bench_table:title(Other), Sample} || {Other, Sample} <- Others]}.

%% Which of the others the row is against.
-spec against(ferrets_bench_table:contender(), results()) -> ferrets_bench_row:outcome().
against(First, Results) ->
    {ferrets, Ours} = lists:keyfind(ferrets, 1, Results),
    {First, Sample} = lists:keyfind(First, 1, Results),
    outcome([{ferrets, Ours}, {First, Sample} | [Other || {Name, _} = Other <- Results, Name =/= ferrets, Name =/= First]]).

-spec against_cets(settings(), results()) -> ferrets_bench_row:outcome().
against_cets(#{cets := true}, Results) ->
    against(cets, Results);
against_cets(#{cets := false}, Results) ->
    #{others := Others} = Outcome = outcome(Results),
    Outcome#{others := [{"cets", {missing, "cets not given"}} | Others]}.
