"""A custom MLServer runtime: scales every tensor by a factor from the model's settings."""

import mlserver
from mlserver.codecs import NumpyCodec


class Scale(mlserver.MLModel):
    async def load(self):
        self.factor = self.settings.parameters.extra["factor"]
        return True

    async def predict(self, request):
        outputs = [NumpyCodec.encode_output("scaled", NumpyCodec.decode_input(i) * self.factor) for i in request.inputs]
        return mlserver.types.InferenceResponse(model_name=self.name, outputs=outputs)
