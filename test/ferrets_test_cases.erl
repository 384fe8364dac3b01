%%% How many random cases a suite runs, and from which seed: as the environment says, so that a failure can be replayed.
-module(ferrets_test_cases).

-export([init_suite/1, init_suite/2]).

%% For `init_per_suite': puts the `seed' into the configuration, and prints it. `FERRETS_SEED' says otherwise.
-spec init_suite(Config) -> Config when Config :: [{atom(), term()}].
init_suite(Config) ->
    Seed = from_environment("FERRETS_SEED", erlang:system_time(microsecond) band 16#FFFFFFFF),
    ct:pal("FERRETS_SEED=~b", [Seed]),
    [{seed, Seed} | Config].

%% The number of `cases' as well. `FERRETS_CASES' says otherwise.
-spec init_suite(pos_integer(), Config) -> Config when Config :: [{atom(), term()}].
init_suite(CasesByDefault, Config) ->
    Cases = from_environment("FERRETS_CASES", CasesByDefault),
    ct:pal("FERRETS_CASES=~b", [Cases]),
    [{cases, Cases} | init_suite(Config)].

-spec from_environment(string(), integer()) -> integer().
from_environment(Name, Default) ->
    case os:getenv(Name) of
        false -> Default;
        Given -> list_to_integer(Given)
    end.
