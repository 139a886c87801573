//! Amazon Bedrock: the runtime, and what the control plane has, since a bearer key works at both.

use super::DeniedReason::{Administration, ManyCalls, Session};
use super::{DeniedEndpoint, any, writing};

const ASYNC_INVOKE: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_StartAsyncInvoke.html";
const BIDIRECTIONAL: &str = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithBidirectionalStream.html";
const INVOCATION_JOB: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html";
const CUSTOMIZATION: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelCustomizationJob.html";
const EVALUATION: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateEvaluationJob.html";
const PROVISIONED: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateProvisionedModelThroughput.html";
const LOGGING: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_PutModelInvocationLoggingConfiguration.html";
const OPENAI: &str = "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-openai.html";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/async-invoke", ManyCalls, ASYNC_INVOKE),
    // One request is a whole conversation.
    any("/model/*/invoke-with-bidirectional-stream", Session, BIDIRECTIONAL),
    writing("/model-invocation-job/**", ManyCalls, INVOCATION_JOB),
    writing("/model-customization-jobs/**", ManyCalls, CUSTOMIZATION),
    writing("/evaluation-jobs/**", ManyCalls, EVALUATION),
    writing("/provisioned-model-throughput/**", Administration, PROVISIONED),
    writing("/logging/**", Administration, LOGGING),
    writing("/openai/v1/batches", ManyCalls, OPENAI),
];
