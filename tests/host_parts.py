"""Flags that turn our configs into ones of the host alone, without a class of ours."""

HOST_PARTS = (
    "--factories~OVERRIDE~ {model: {ModelFactory: {}}, loss: {LossFactory: {}}, "
    "miner: {MinerFactory: {}}, sampler: {SamplerFactory: {}}, optimizer: {OptimizerFactory: {}}, "
    "tester: {TesterFactory: {}}, trainer: {TrainerFactory: {}}, "
    "transform: {TransformFactory: {}}, split_manager: {SplitManagerFactory: {}}, "
    "record_keeper: {RecordKeeperFactory: {}}, hook: {HookFactory: {}}, "
    "aggregator: {AggregatorFactory: {}}, ensemble: {EnsembleFactory: {}}} "
    "--hook_container~OVERRIDE~ {HookContainer: {primary_metric: mean_average_precision_at_r, "
    "validation_split_name: val}}"
)
