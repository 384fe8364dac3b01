%%% How many random cases a suite runs, and from which seed: as the environment says, so that a failure can be replayed.
-module(ferrets_test_cases).

-export([init_suite/2]).

%% For `init_per_suite': puts the `seed' and the number of `cases' into the configuration, and prints both. `FERRETS_SEED' and
%% `FERRETS_CASES' say otherwise.
-spec init_suite(pos_integer(), Config) -> Config when Config :: [{atom(), term()}].
init_suite(CasesByDefault, Config) ->
    Seed = from_environment("FERRETS_SEED", erlang:system_time(microsecond) band 16#FFFFFFFF),
    Cases = from_environment("FERRETS_CASES", CasesByDefault),
    ct:pal("FERRETS_SEED=~b FERRETS_CASES=~b", [Seed, Cases]),
    [{seed, Seed}, {cases, Cases} | Config].

-spec from_environment(string(), integer()) -> integer().
from_environment(Name, Default) ->
    case os:getenv(Name) of
        false -> Default;
        Given -> list_to_integer(Given)
    end.
